# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# A package brings a module that works. Its upgrade brings one that is built and
# installed, and that the kernel cannot use. What was there before comes back,
# without a compiler.

# package VERSION INIT makes a Debian package of sources, as dh-dkms would. INIT
# is what the module returns when it is loaded.
package() {
	dir=/run/package-$1 src=/run/package-$1/usr/src/vm-turn-$1
	mkdir -p "$dir/DEBIAN" "$src"
	cat >"$dir/DEBIAN/control" <<-END
		Package: vm-turn-dkms
		Version: $1
		Architecture: all
		Maintainer: nobody <nobody@localhost>
		Description: a module
	END
	cat >"$dir/DEBIAN/postinst" <<-END
		#!/bin/sh
		[ "\$1" != configure ] || exec /usr/lib/dkms/common.postinst vm-turn $1 "" "" "\$2"
	END
	cat >"$dir/DEBIAN/prerm" <<-END
		#!/bin/sh
		exec dkms remove -m vm-turn -v $1 --all
	END
	chmod 755 "$dir"/DEBIAN/p*
	cat >"$src/dkms.conf" <<-END
		PACKAGE_NAME="vm-turn"
		PACKAGE_VERSION="$1"
		BUILT_MODULE_NAME[0]="vm_turn"
		DEST_MODULE_LOCATION[0]="/updates"
		AUTOINSTALL="yes"
	END
	echo 'obj-m := vm_turn.o' >"$src/Makefile"
	cat >"$src/vm_turn.c" <<-END
		#include <linux/module.h>

		static int __init start(void) { return $2; }
		static void __exit stop(void) {}

		module_init(start);
		module_exit(stop);
		MODULE_LICENSE("GPL");
		MODULE_VERSION("$1");
	END
	dpkg-deb --root-owner-group -b "$dir" "/run/vm-turn-dkms_$1.deb"
}
package 1.0 0
package 2.0 -ENODEV
section "install" dpkg -i /run/vm-turn-dkms_1.0.deb
section "load before" modprobe vm_turn
rmmod vm_turn
cp "$(modinfo -n vm_turn)" /root/before.ko
section "upgrade" dpkg -i /run/vm-turn-dkms_2.0.deb
section "version upgraded" modinfo -F version vm_turn
section "load upgraded" modprobe vm_turn

rm /usr/bin/make /usr/bin/*gcc* /usr/bin/cc /usr/bin/as /usr/bin/ld*
section "compiler" sh -c 'command -v make gcc cc as ld'
section "history" dkms history
start=$(date +%s)
section "undo" dkms undo
section "took" echo "$(($(date +%s) - start))"
section "same" cmp /root/before.ko "$(modinfo -n vm_turn)"
section "load undone" modprobe vm_turn
section "status" dkms status
section "check" dkms check -k "$kernel"
