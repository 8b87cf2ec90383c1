# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# The service once more, in the same boot.
. /run/vm/systemd_first.sh
section again systemctl restart dkms.service
section "again unit" systemctl show dkms.service -p ActiveState,Result
section "again journal" journalctl -b -u dkms.service -o cat --no-pager
