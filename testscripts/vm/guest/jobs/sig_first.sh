# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# Whether the kernel takes a module that is not signed, one that somebody else
# has signed, and ours. Nothing asks for vm_idle, so it is not loaded yet.
section unit systemctl show dkms.service -p ActiveState,Result
section journal journalctl -b -u dkms.service -o cat --no-pager
section status dkms status
section check dkms check -k "$kernel"
section enforced cat /sys/module/module/parameters/sig_enforce
section lockdown cat /sys/kernel/security/lockdown
section keys grep -E 'X509|asymmetri' /proc/keys
cd /run || return
# A copy of the symbols and sections only, without what is behind them.
objcopy "$(modinfo -n vm_idle)" unsigned.ko
cp unsigned.ko foreign.ko
openssl req -new -x509 -newkey rsa:2048 -nodes -subj /CN=stranger -days 9 \
	-keyout foreign.key -outform DER -out foreign.der 2>/dev/null
section "sign foreign" "/lib/modules/$kernel/build/scripts/sign-file" sha256 foreign.key foreign.der foreign.ko
cp "$(modinfo -n vm_idle)" ours.ko
for name in unsigned foreign ours; do
	section "sig_id $name" modinfo -F sig_id "/run/$name.ko"
	section "insmod $name" insmod "/run/$name.ko"
	section "taint $name" cat /sys/module/vm_idle/taint
	rmmod vm_idle 2>/dev/null
done
section dmesg sh -c 'dmesg | grep -iE "integrity: |x\.?509|module verification|key was rejected|efi: |lockdown|secure boot"'
