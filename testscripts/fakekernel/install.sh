#!/bin/sh
# Lays down a fake kernel: install.sh ROOT RELEASE [SUFFIX]
# makes ROOT/lib/modules/RELEASE with one module of its own (its suffix says
# how the kernel's modules are compressed) and headers to build against.
set -eu
root=$1 release=$2 suffix=${3-}
here=$(cd "$(dirname "$0")" && pwd)
headers=$root/usr/src/linux-headers-$release
mkdir -p "$headers/include/config" "$root/lib/modules/$release/kernel/fs" "$root/boot"
cp -R "$here/Makefile" "$here/include" "$headers"
echo "$release" >"$headers/include/config/kernel.release"
cat >"$headers/include/config/auto.conf" <<CONF
CONFIG_MODULES=y
CONFIG_MODULE_SIG=y
CONFIG_MODULE_SIG_HASH="sha256"
CONFIG_CC_VERSION_TEXT="gcc (fake)"
CONF
ln -sfn "$headers" "$root/lib/modules/$release/build"
cd "$root/lib/modules/$release"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' >kernel/fs/fakefs.c
gcc -c -ffreestanding -I"$headers/include" -DKBUILD_MODNAME='"fakefs"' \
	-DVERMAGIC="\"$release SMP preempt mod_unload\"" -o kernel/fs/fakefs.ko kernel/fs/fakefs.c
rm kernel/fs/fakefs.c
case $suffix in
.xz) xz --check=crc32 kernel/fs/fakefs.ko ;;
.zst) zstd -q --rm kernel/fs/fakefs.ko ;;
esac
echo "kernel/fs/fakefs.ko" >modules.order
: >modules.builtin
: >modules.builtin.modinfo
depmod -b "$root" "$release"
