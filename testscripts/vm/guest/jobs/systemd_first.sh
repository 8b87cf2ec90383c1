# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What the boot service has done for a kernel that had none of the modules. On a
# slow machine udev may still be loading those that devices ask for.
udevadm settle --timeout=300
section unit systemctl show dkms.service \
	-p ActiveState,Result,ExecMainStatus,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic,ActiveEnterTimestampMonotonic
section multi-user systemctl show multi-user.target -p ActiveState,ActiveEnterTimestampMonotonic
section journal journalctl -b -u dkms.service -o cat --no-pager
section cycles sh -c 'journalctl -b -o cat --no-pager | grep -i "ordering cycle"'
section status dkms status
section modules cat /proc/modules
section edu ls /sys/bus/pci/drivers/vm_edu
for name in dkms_demo vm_edu vm_idle vm_broken; do
	section "file $name" modinfo -n "$name"
	section "signer $name" modinfo -F sig_id "$name"
done
section log cat /var/lib/dkms/vm-broken/1.0/build/make.log
