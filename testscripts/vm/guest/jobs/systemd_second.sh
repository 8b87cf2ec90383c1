# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# The same as after the first boot, then a package installs another kernel: its
# hooks are run as Debian's packages do it.
. /run/vm/systemd_first.sh
other=$(basename "$(ls -d /lib/modules/*-cloud-amd64)")
section hooks run-parts --verbose --exit-on-error --arg="$other" --arg="/boot/vmlinuz-$other" /etc/kernel/postinst.d
section "hook status" dkms status -k "$other"
for name in dkms_demo vm_edu; do
	section "hook file $name" modinfo -k "$other" -n "$name"
	section "hook vermagic $name" modinfo -k "$other" -F vermagic "$name"
done
