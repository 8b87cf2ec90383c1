#!/bin/sh
# licenses.sh: prints the licences of Go and of every module that the two
# programs link, as dist/doc/licenses.txt has them. "make licenses" writes that
# file; a test compares both, and the modules with "go version -m".
set -eu
cd "$(dirname "$0")/../.."
: "${GO:=go}"

# texts DIR [TOP] prints the licence files of DIR and of what is above it, up
# to TOP: a module may hold packages that came from elsewhere.
texts() {
	dir=$1
	while :; do
		for file in "$dir"/LICENSE* "$dir"/LICENCE* "$dir"/COPYING* "$dir"/NOTICE* "$dir"/PATENTS*; do
			case $file in *'*' | *.go | *.md.tmpl) continue ;; esac
			echo "$file"
		done
		[ "$dir" != "$2" ] || break
		dir=${dir%/*}
	done
}

# section HEADING FILE...
section() {
	printf '\n%s\n%s\n' "$rule" "$1"
	shift
	for text; do
		printf '%s\n\n' "$rule"
		tr -d '\r' <"$text" | sed -e 's/[[:space:]]*$//'
	done
}

rule=------------------------------------------------------------------------
echo "The licence of dkms itself is the Apache License 2.0. The two programs are
static and hold parts of the works below, each under its own licence."
goroot=$("$GO" env GOROOT)
section "Go, the runtime and the standard library" "$goroot/LICENSE" "$goroot/PATENTS"
GOOS=linux CGO_ENABLED=0 "$GO" list -deps \
	-f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}} {{$.Dir}}{{end}}{{end}}' ./oneshot ./hooks | sort -u |
	while read -r path version top dir; do
		texts "$dir" "$top" | sed "s|^|$path $version |"
	done | sort -u |
	{
		last='' files=''
		while read -r path version file; do
			if [ "$path $version" != "$last" ]; then
				# shellcheck disable=SC2086 # a list of words
				[ -z "$last" ] || section "$last" $files
				last="$path $version" files=''
			fi
			files="$files $file"
		done
		# shellcheck disable=SC2086
		section "$last" $files
	}
