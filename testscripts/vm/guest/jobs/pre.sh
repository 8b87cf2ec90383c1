# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# First boot of a disk: what the test brings goes to its places, the service of
# the init system in charge is switched on, the drivers are registered.
cp -a /run/vm/root/. /
if [ -e /run/vm/openrc ]; then
	section enable rc-update add dkms default
	rc-update add vm-job default
else
	section enable systemctl enable dkms.service
	# Whatever that said, the other claims deserve their test.
	mkdir -p /etc/systemd/system/multi-user.target.wants
	ln -sf /lib/systemd/system/dkms.service /etc/systemd/system/multi-user.target.wants/
fi
for dir in /run/vm/src/*; do
	[ -d "$dir" ] || continue
	section "add $(basename "$dir")" dkms add "$dir"
done
