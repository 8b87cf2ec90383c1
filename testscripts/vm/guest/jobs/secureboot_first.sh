# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What README's section on Secure Boot says, up to the restart.
cd /run || return
mkdir /root/hello
cp vm/hello.c vm/Makefile vm/dkms.conf /root/hello

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

typed() {
	answer shown sesame | timeout 60 script -qefc 'dkms mok enroll' shown
}

section state mokutil --sb-state
section install dkms install /root/hello
section load modprobe hello
section check dkms check -k "$kernel"
section enroll typed
section waiting dkms mok status
section "check again" dkms check -k "$kernel"
