#!/bin/busybox sh
# The initramfs: mounts the disk and what this boot brings along, lets the
# preparation run, hands over to the init that the command line names.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin:/usr/bin:/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $(cat /modules/order); do
	insmod "/modules/$module" || echo "initramfs: $module is not loaded"
done
init=
for word in $(cat /proc/cmdline); do
	case $word in vm.init=*) init=${word#vm.init=} ;; esac
done
mount -t ext4 /dev/vda /root || poweroff -f
mount -t tmpfs -o mode=755 run /root/run
mkdir /root/run/vm
tar -xf /dev/vdb -C /root/run/vm
: >/root/run/started
for dir in dev proc sys; do
	mount --move "/$dir" "/root/$dir"
done
if [ -e /root/run/vm/pre ]; then
	chroot /root /bin/sh /run/vm/agent pre
fi
exec switch_root /root "$init"
