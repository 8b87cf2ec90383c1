#!/bin/sh
# other.sh [ROOT]: what "make install" says where it does not know the kernel
# hooks of the distribution that ROOT's os-release names. LIBDIR is where
# dkms-hook is.
set -eu
for file in "${1-}/etc/os-release" "${1-}/usr/lib/os-release" /etc/os-release; do
	[ ! -r "$file" ] || break
done
# value NAME... prints the first of these variables of os-release that is set.
value() {
	for name; do
		sed -n "s/^$name=[\"']*\([^\"']*\).*/\1/p" "$file" 2>/dev/null | grep . && return
	done
	echo "this system"
}

name=$(value PRETTY_NAME NAME ID)
id=$(value ID)

case $id in
nixos | guix)
	cat <<-END
		note: $name keeps its kernels and modules in a store that nothing is written
		into: modules are packages of their own there. dkms builds for kernels below
		/lib/modules only, and no hook or service was set up.
	END
	exit 0
	;;
esac
cat <<-END
	note: the kernel hooks of $name are not known here. kernel-install and systemd
	find dkms by themselves, where they are in use. Otherwise have whatever
	installs kernels run, before the initramfs is made and as a kernel goes:
	    $LIBDIR/dkms-hook --hook=postinst RELEASE
	    $LIBDIR/dkms-hook --hook=prerm RELEASE
	and at each boot, from rc.local or the like, before the network and graphics:
	    dkms autoinstall --modprobe-on-install
END
