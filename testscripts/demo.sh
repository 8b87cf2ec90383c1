#!/bin/sh
# Shows the main job: a small driver is registered, then built and installed
# by the kernel hook for one kernel and by the boot service for another. It all
# happens in private copies of the trees (a mount namespace); this machine's
# own are not touched.
set -eu
cd "$(dirname "$0")/.."
top=$(pwd)

if [ "${1-}" != inside ]; then
	sh testscripts/setup.sh demo
	if [ "$(id -u)" = 0 ]; then
		exec unshare --mount sh "$0" inside
	fi
	exec unshare --map-root-user --mount sh "$0" inside
fi

# shell DESCRIPTION COMMAND...: what a reader would have typed
run() {
	printf '\n# %s\n' "$*"
	"$@"
}

exec 2>&1
tmp=$(mktemp -d)
trap 'umount -R "$tmp" 2>/dev/null; rm -rf "$tmp" 2>/dev/null' EXIT
mount -t tmpfs dkms-demo "$tmp"
mkdir -p "$tmp/src" "$tmp/modules" "$tmp/state" "$tmp/etc" "$tmp/postinst.d" /var/lib/dkms /etc/dkms 2>/dev/null || true

# Real headers, if there are any, or a fake kernel.
kernels=''
for build in /lib/modules/*/build; do
	if [ -d "$build/include" ]; then
		release=${build%/build}
		kernels="$kernels ${release##*/}"
		mkdir -p "$tmp/modules/${release##*/}"
		cp -P "$build" "$tmp/modules/${release##*/}/build"
		: >"$tmp/modules/${release##*/}/modules.order"
		: >"$tmp/modules/${release##*/}/modules.builtin"
	fi
done
if [ -z "$kernels" ]; then
	kernels="6.9.1-fake 6.9.2-fake"
	for release in $kernels; do
		sh testscripts/fakekernel/install.sh "$tmp/fake" "$release"
		mv "$tmp/fake/lib/modules/$release" "$tmp/modules/"
	done
	echo "no kernel headers here: using fake kernels $kernels"
fi

# Private trees over this machine's own; headers stay visible.
for dir in /usr/src/*/; do
	[ -d "$dir" ] || continue
	name=$(basename "$dir")
	case $name in linux-*) mkdir "$tmp/src/$name" && mount --rbind "$dir" "$tmp/src/$name" ;; esac
done
mount --rbind "$tmp/src" /usr/src
mount --rbind "$tmp/modules" /lib/modules
mount --rbind "$tmp/state" /var/lib/dkms
mount --rbind "$tmp/etc" /etc/dkms
# A namespace looks like a container, where modules are not signed by default.
echo 'try_sign_modules="true"' >/etc/dkms/framework.conf
for release in $kernels; do
	depmod "$release" 2>/dev/null
done

# An own name on the path, as after "make install".
mkdir -p "$tmp/bin"
ln -s "$top/bin/dkms" "$tmp/bin/dkms"
ln -s "$top/bin/dkms-hook" "$tmp/postinst.d/dkms"
PATH=$tmp/bin:$PATH
export PATH

# shellcheck disable=SC2086 # a list of words
set -- $kernels
first=$1
last=$1
for release; do last=$release; done

run dkms add testscripts/demo/dkms-demo-1.0
printf '\n# a kernel package installs %s and calls its hooks\n' "$first"
run "$tmp/postinst.d/dkms" "$first" "/boot/vmlinuz-$first"
printf '\n# the machine boots %s and its service builds what is missing\n' "$last"
run dkms autoinstall --kernelver "$last"
run dkms autoinstall --kernelver "$last"
run dkms status
module=$(find "/lib/modules/$first/" -name 'dkms_demo.ko*')
run modinfo "$module"
printf '\ndemo: done; nothing of it is left on this machine\n'
