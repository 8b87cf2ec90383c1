# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# After a power cut: the state that the boot service has healed. Then modules
# are installed and removed until the power is cut again.
. /run/vm/powercut_look.sh
look after
section unit systemctl show dkms.service -p ActiveState,Result
section "boot journal" journalctl -b -u dkms.service -o cat --no-pager
for name in vm_left vm_right; do
	section "load $name" modprobe "$name"
	rmmod "$name"
done
section filesystem sh -c 'dmesg | grep -E "EXT4-fs (error|warning)"'
section verified true

step() {
	case $1 in
	0) dkms install vm-pair/1.0 --force ;;
	1) dkms install vm-pair/2.0 --force ;;
	2) dkms uninstall vm-pair/2.0 ;;
	3) dkms install vm-pair/2.0 ;;
	4) dkms uninstall vm-pair/2.0 && dkms install vm-pair/1.0 ;;
	5) dkms unbuild vm-pair/2.0 && dkms install vm-pair/2.0 --force ;;
	esac
}
if [ -e /run/vm/last ]; then
	return
fi
n=$(cat /run/vm/start)
while :; do
	echo "=== step $n"
	step "$n"
	n=$(((n + 1) % 6))
done
