# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What the power cut has left, before anything of the system runs.
if [ -e /run/vm/first ]; then
	. /run/vm/pre.sh
else
	. /run/vm/powercut_look.sh
	look before
fi
