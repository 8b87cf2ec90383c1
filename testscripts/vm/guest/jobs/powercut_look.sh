# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# look WHEN reports the state of the modules.
look() {
	dir=/lib/modules/$kernel
	section "$1 status" dkms status -k "$kernel"
	section "$1 left" modinfo -F version vm_left
	section "$1 right" modinfo -F version vm_right
	section "$1 empty" find "$dir" -name '*.ko*' -size 0
	section "$1 newer" find "$dir" -name '*.ko*' -newer "$dir/modules.dep"
	section "$1 hidden" find "$dir" -name '.*'
	section "$1 journal" sh -c 'ls -A /var/lib/dkms | grep -i journal'
}
