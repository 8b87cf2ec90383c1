# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# After a power cut: what has started, and what the boot service has made of the
# guard. Then the guard is switched off and on until the power is cut again.
. /run/vm/guard_loader.sh
section running uname -r
section default loader_default
section guard cat /var/lib/dkms/.boot-guard.json
section apt cat /etc/apt/apt.conf.d/71dkms-boot-guard
section left sh -c 'find /boot/grub /etc/apt /var/lib/dkms -name ".dkms-*"'
section filesystem sh -c 'dmesg | grep -E "EXT4-fs (error|warning)"'
section verified true
if [ -e /run/vm/last ]; then
	return
fi
while :; do
	for word in no yes; do
		echo "boot_guard=$word" >/etc/dkms/framework.conf.d/new
		sync /etc/dkms/framework.conf.d/new
		mv /etc/dkms/framework.conf.d/new /etc/dkms/framework.conf.d/guard.conf
		echo "=== $word"
		dkms autoinstall -k "$kernel"
	done
done
