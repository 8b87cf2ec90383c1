# shellcheck shell=sh
# For the jobs in which somebody answers mokutil at a terminal.

# answer types what mokutil asks for, each time when it asks: answer FILE TEXT,
# where FILE is what the terminal shows.
answer() {
	for question in 'input password:' 'input password again:'; do
		tries=0
		until grep -q "$question" "$1" 2>/dev/null || [ $((tries += 1)) -gt 300 ]; do
			sleep 0.2
		done
		echo "$2"
	done
}
