# What the power cut has left, before anything of the system runs.
if [ -e /run/vm/first ]; then
	. /run/vm/pre.sh
else
	. /run/vm/powercut_look.sh
	look before
fi
