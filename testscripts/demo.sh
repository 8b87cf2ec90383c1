#!/bin/sh
# Shows the main job: a small driver is registered, then built and installed
# by the kernel hook for one kernel and by the boot service for another. Where
# mounts of our own are allowed it all happens in private copies of the trees;
# elsewhere (in a chroot) in this machine's, which are cleaned up afterwards.
set -eu
cd "$(dirname "$0")/.."
top=$(pwd)

if [ $# = 0 ]; then
	sh testscripts/setup.sh demo
	if [ "$(id -u)" != 0 ]; then
		exec unshare --map-root-user --mount sh "$0" private
	elif unshare --mount true 2>/dev/null; then
		exec unshare --mount sh "$0" private
	fi
	exec sh "$0" shared
fi

exec 2>&1 # progress and results in the order in which they come
say() { printf '\n# %s\n' "$*"; }
# what a reader would have typed
run() {
	say "$@"
	"$@"
}

tmp=$(mktemp -d)
clean() {
	if [ "$1" = private ]; then
		umount -l "$tmp" 2>/dev/null || true
		rmdir "$tmp"
		return
	fi
	dkms remove dkms-demo/1.0 --all --quiet
	rm -rf "$tmp" /usr/src/dkms-demo-1.0
	for release in $fake; do
		rm -rf "/lib/modules/$release" "/usr/src/linux-headers-$release"
	done
}
trap 'clean "$1"' EXIT

# Private trees over this machine's own; the headers stay visible.
if [ "$1" = private ]; then
	mount -t tmpfs dkms-demo "$tmp"
	mkdir "$tmp/src" "$tmp/modules" "$tmp/state" "$tmp/etc"
	for dir in /usr/src/linux-*/; do
		[ -d "$dir" ] || continue
		name=$(basename "$dir")
		mkdir "$tmp/src/$name"
		mount --rbind "$dir" "$tmp/src/$name"
	done
	for link in /lib/modules/*/build; do
		[ -d "$link/include" ] || continue
		release=$(basename "${link%/build}")
		mkdir "$tmp/modules/$release"
		cp -P "$link" "$tmp/modules/$release/build"
		: >"$tmp/modules/$release/modules.order"
		: >"$tmp/modules/$release/modules.builtin"
	done
	mkdir -p /var/lib/dkms /etc/dkms
	mount --rbind "$tmp/src" /usr/src
	mount --rbind "$tmp/modules" /lib/modules
	mount --rbind "$tmp/state" /var/lib/dkms
	mount --rbind "$tmp/etc" /etc/dkms
	# A mount namespace looks like a container, where nothing is signed.
	echo 'try_sign_modules="true"' >/etc/dkms/framework.conf
fi

kernels='' fake=''
for link in /lib/modules/*/build; do
	if [ -d "$link/include" ]; then kernels="$kernels $(basename "${link%/build}")"; fi
done
if [ -z "$kernels" ]; then
	kernels="6.9.1-fake 6.9.2-fake" fake=$kernels
	say "no kernel headers here: fake kernels $kernels stand in"
	for release in $fake; do
		sh testscripts/fakekernel/install.sh / "$release"
	done
fi
for release in $kernels; do
	depmod "$release" 2>/dev/null
done

# The programs under the names that "make install" gives them.
mkdir "$tmp/bin" "$tmp/postinst.d"
ln -s "$top/bin/dkms" "$tmp/bin/dkms"
ln -s "$top/bin/dkms-hook" "$tmp/postinst.d/dkms"
PATH=$tmp/bin:$PATH

first='' last=''
for release in $kernels; do
	first=${first:-$release} last=$release
done
run dkms add testscripts/demo/dkms-demo-1.0
say "a package installs kernel $first and calls its hooks"
run "$tmp/postinst.d/dkms" "$first" "/boot/vmlinuz-$first"
say "the machine boots kernel $last and its service builds what is missing"
run dkms autoinstall --kernelver "$last"
run dkms autoinstall --kernelver "$last"
run dkms status
run modinfo "$(find "/lib/modules/$first/" -name 'dkms_demo.ko*')"
say "done; nothing of it stays on this machine"
