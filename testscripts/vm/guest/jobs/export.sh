# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# A module that dkms has built, but not installed, comes as an extension of the
# system, and as packages once dkms is gone.
section uninstall dkms uninstall dkms-demo/1.0 -k "$kernel"
rmmod dkms_demo
section "not there" modprobe dkms_demo
mkdir -p /var/lib/extensions
for format in deb rpm; do
	section "export $format" dkms export dkms-demo -k "$kernel" --format $format --archive "/root/demo.$format"
done
cp /usr/lib/modules/"$kernel"/modules.dep /run/before
section "export sysext" dkms export dkms-demo -k "$kernel" --format sysext --archive /var/lib/extensions
section "export raw" dkms export dkms-demo -k "$kernel" --format sysext --archive /root/zz-raw.raw

# loaded NAME: modprobe loads the module, the kernel has it, and it is the one
# that was built.
loaded() {
	section "load $1" modprobe dkms_demo
	section "loaded $1" grep '^dkms_demo ' /proc/modules
	section "file $1" modinfo -n dkms_demo
	section "same $1" cmp "$(modinfo -n dkms_demo)" "/var/lib/dkms/dkms-demo/1.0/$kernel/x86_64/module/dkms_demo.ko"
	rmmod dkms_demo
}

# lost prints the modules that the index had before, and has no more.
lost() {
	cut -d: -f1 /run/before | sort >/run/b
	cut -d: -f1 "/usr/lib/modules/$kernel/modules.dep" | sort >/run/a
	comm -23 /run/b /run/a
}

# merged NAME: what systemd merges, it merges for modprobe, too.
merged() {
	section "merge $1" systemd-sysext merge
	section "status $1" systemd-sysext status
	section "read-only $1" sh -c '! touch /usr/x'
	loaded "$1"
	section "loop $1" modprobe --show-depends loop
	section "index $1" lost
	section "unmerge $1" systemd-sysext unmerge
	section "gone $1" modprobe dkms_demo
}
merged directory
rm -r /var/lib/extensions/*
cp /root/zz-raw.raw /var/lib/extensions
merged raw
# What is for another system is left out.
rm /var/lib/extensions/*
sed -i 's/^VERSION_ID=.*/VERSION_ID=99/' /usr/lib/os-release
cp /root/zz-raw.raw /var/lib/extensions
section "merge other" systemd-sysext merge
section "status other" systemd-sysext status
section "unmerge other" systemd-sysext unmerge

# Where /usr cannot be written, dkms makes the extension itself, and the boot
# service makes it anew after an upgrade.
rm -rf /var/lib/extensions/* /etc/os-release
cp /usr/lib/os-release /etc/os-release
echo 'install_as="sysext"' >>/etc/dkms/framework.conf
mount --bind /usr /usr
mount -o remount,ro,bind /usr
section "install own" dkms install dkms-demo/1.0 -k "$kernel"
section "dkms own" dkms status
loaded own
sed -i 's/^VERSION_ID=.*/VERSION_ID=100/' /etc/os-release
systemd-sysext refresh
section "refused own" modprobe dkms_demo
section "dkms refused" dkms check -k "$kernel"
section "service upgraded" systemctl restart dkms.service
rmmod dkms_demo
loaded upgraded
section "dkms upgraded" dkms check -k "$kernel"
section "uninstall own" dkms uninstall dkms-demo/1.0 -k "$kernel"
section "gone own" modprobe dkms_demo
section "left own" ls -A /var/lib/extensions
mount -o remount,rw,bind /usr

rm /usr/sbin/dkms /usr/lib/dkms/dkms-hook
section "install deb" dpkg -i /root/demo.deb
loaded deb
section "remove deb" dpkg -r "dkms-demo-modules-$kernel"
section "gone deb" modprobe dkms_demo
section "install rpm" rpm -i --nodeps /root/demo.rpm
loaded rpm
section "remove rpm" rpm -e "dkms-demo-modules-$kernel"
section "gone rpm" modprobe dkms_demo
section "left" sh -c "ls -d /usr/share/dkms-modules /usr/lib/modules/$kernel/updates 2>/dev/null"
