# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# After a restart the boot service leaves alone what was undone.
section unit systemctl show dkms.service -p ActiveState,Result
section journal journalctl -b -u dkms.service -o cat --no-pager
section "same" cmp /root/before.ko "$(modinfo -n vm_turn)"
section "load" modprobe vm_turn
section "status" dkms status
