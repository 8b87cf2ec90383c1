#!/bin/sh
# busybox.sh DKMS DKMS-HOOK: our dkms where every small tool is busybox's, as on
# Alpine: this machine once more, in memory, with /bin and /sbin full of
# busybox, our programs as "make install DISTRO=alpine" lays them down, and the
# headers of a kernel that this machine has. Only bash, make, the compiler,
# patch and kmod are what they are. Prints PASS or FAIL for every expectation;
# the status is 0 if all were met.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_CACHE=${PACKAGES_CACHE:-/var/tmp/dkms-packages} PACKAGES_SUITE=host
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -x "${2-}" ] || { echo "usage: busybox.sh DKMS DKMS-HOOK (made by make)" >&2 && exit 2; }
command -v busybox >/dev/null || { echo "busybox.sh: busybox is not installed" >&2 && exit 2; }
alone "$@"

prepare() {
	overlay_root busybox
	cp "$1" "$temp/bin/dkms" && cp "$2" "$temp/bin/dkms-hook" || exit
	make -s -C "$here/.." install DESTDIR="$root" BIN="$temp/bin" DISTRO=alpine SYSTEMD= >"$log" || exit
	install -D -m 755 "$here/../dist/alpine/dkms.kernel-hook" "$root/usr/share/kernel-hooks.d/dkms.hook"
	kernel=$(for dir in /lib/modules/*/build/include/config; do dir=${dir%/build/*} && echo "${dir##*/}"; done | sort -V | tail -n 1)
	rm -rf "$root/lib/modules/$kernel/updates" "$root/lib/modules/$kernel/extra"
	for file in order builtin builtin.modinfo dep; do [ -e "$root/lib/modules/$kernel/modules.$file" ] || : >"$root/lib/modules/$kernel/modules.$file"; done
	printf 'ID=alpine\nPRETTY_NAME="Alpine, or nearly"\n' >"$root/tmp/os-release"
	mv -f "$root/tmp/os-release" "$root/etc/os-release"
	all_busybox patch
}

# source VERSION PATCHED: a module whose package runs scripts and a patch.
source_of() {
	dir=$root/usr/src/hello-$1
	mkdir -p "$dir/patches"
	printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_VERSION("plain");\n' >"$dir/hello.c"
	printf '%s\n' '--- a/hello.c' '+++ b/hello.c' '@@ -1,3 +1,3 @@' ' #include <linux/module.h>' ' MODULE_LICENSE("GPL");' \
		'-MODULE_VERSION("plain");' "+MODULE_VERSION(\"$1\");" >"$dir/patches/version.patch"
	echo 'obj-m := hello.o' >"$dir/Makefile"
	printf '#!/bin/sh\nfind . -name "*.c" | xargs grep -l MODULE | sort | sed "s/^/sources: /"\n' >"$dir/pre.sh"
	chmod 755 "$dir/pre.sh"
	cat >"$dir/dkms.conf" <<-END
		PACKAGE_NAME=hello
		PACKAGE_VERSION=$1
		BUILT_MODULE_NAME[0]=hello
		DEST_MODULE_LOCATION[0]=/kernel/extra
		AUTOINSTALL=yes
		PATCH[0]=version.patch
		PRE_BUILD=pre.sh
	END
}

status() {
	in_root dkms status >"$log" 2>&1
	if [ "$(cat "$log")" = "$2" ]; then pass "$1"; else fail "$1 (want $2)"; fi
}

story() {
	step "a module on busybox, for $kernel"
	expect "tools are busybox's" [ "$count" -gt 80 ]
	expect "ls is" sh -c "chroot '$root' ls --help 2>&1 | grep BusyBox"
	source_of 1.0
	expect "it is installed" in_root dkms install hello/1.0 -k "$kernel"
	status "and listed" "hello/1.0, $kernel, x86_64: installed"
	module=/lib/modules/$kernel/kernel/extra/hello.ko
	expect "the patch has been applied" [ "$(modinfo -F version "$(echo "$root$module"*)")" = 1.0 ]
	expect "the script has run" in_root grep -q '^sources: ./hello.c' "/var/lib/dkms/hello/1.0/$kernel/x86_64/log/make.log"
	expect "modprobe finds it" grep -q 'kernel/extra/hello\.ko' "$root/lib/modules/$kernel/modules.dep"
	expect "it goes into an archive" in_root dkms mktarball hello/1.0 -k "$kernel" --archive /tmp/hello.tar.gz
	expect "it is removed" in_root dkms remove hello/1.0 --all
	gone "nothing is left" /var/lib/dkms/hello "$module" "$module.xz" "$module.gz"
	expect "the archive brings it back" in_root dkms ldtarball /tmp/hello.tar.gz
	release=${kernel%-*} flavor=${kernel##*-}
	expect "Alpine's kernel hook installs it" in_root /usr/share/kernel-hooks.d/dkms.hook "$flavor" "$release" ""
	status "it is listed again" "hello/1.0, $kernel, x86_64: installed"
	expect "the kernel hook takes it out" in_root /usr/share/kernel-hooks.d/dkms.hook "$flavor" "" "$release"
	status "but for its sources" "hello/1.0: added"
	expect "a package's common.postinst installs it" in_root /usr/lib/dkms/common.postinst hello 1.0
	expect "all is well with dkms check" in_root dkms check -k "$kernel"
	step "without bash"
	expect "the module goes" in_root dkms remove hello/1.0 --all
	rm -r "$root"/usr/src/hello-1.0 "$root"/usr/bin/bash && source_of 2.0
	reject "nothing is built" 6 in_root dkms install hello/2.0 -k "$kernel"
	said "bash is the reason" ': bash: program not found in '
	said "and what to install" '^dkms: hint: .*; install bash and run the same command again'
	status "nothing half is left" "hello/2.0: added"
	# shellcheck disable=SC2016 # for bash to read
	echo '[[ $kernelver == 1.* ]] && MAKE="make one"' >>"$root/usr/src/hello-2.0/dkms.conf"
	reject "nor is a dkms.conf evaluated that needs it" 1 in_root dkms build hello/2.0 -k "$kernel"
	said "bash is the reason" 'bash: program not found in '
	said "and what to install" '^dkms: hint: .*bash'
	reject "dkms doctor finds it" 11 in_root dkms doctor -k "$kernel"
	said "and says what to do" '^programs: bash is not installed \(apk add bash\)'
}

prepare "$@"
story
conclude "$count tools are busybox's"
