# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# The machine has one kernel with an essential module. Then another kernel comes, for
# which the module does not build, and the boot loader learns of it after our hook.
. /run/vm/guard_loader.sh
other=$(basename "$(ls -d /lib/modules/*-cloud-amd64)")
mkdir -p /root/aside
mv "/lib/modules/$other" "/boot/vmlinuz-$other" /root/aside
echo boot_guard=yes >/etc/dkms/framework.conf.d/guard.conf
loader_set_up
section "one kernel" dkms autoinstall
section "one default" loader_default

mv "/root/aside/$other" /lib/modules
mv "/root/aside/vmlinuz-$other" /boot
section hooks run-parts --verbose --exit-on-error --arg="$other" --arg="/boot/vmlinuz-$other" /etc/kernel/postinst.d
section "late hook" loader_add "$other"
section default loader_default
section check dkms check
section history dkms history
