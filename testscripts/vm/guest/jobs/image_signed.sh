# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# The boot service has a key that the kernel trusts.
section unit systemctl show dkms.service -p ActiveState,Result
section journal journalctl -b -u dkms.service -o cat --no-pager
section lockdown cat /sys/kernel/security/lockdown
section signer modinfo -F sig_id dkms_demo
section modules cat /proc/modules
section check dkms check -k "$kernel"
