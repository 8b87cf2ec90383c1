#!/bin/sh
# initramfs.sh DKMS: dkms looks into real images: of initramfs-tools, of a unified
# kernel image that ukify makes, of dracut, and of two that Debian does not have,
# whose sources are where these say:
#   INITRAMFS_MKINITCPIO  mkinitcpio
#   INITRAMFS_BOOSTER     booster; Go fetches what it links
# each a directory as in their repositories, or a git directory. In a chroot of
# Debian ${PACKAGES_SUITE:-trixie} a module is installed that the images hold; then
# another build of it is, and dkms says that the image is stale, has it made again
# once, and finds it right; then the image loses the module. Prints PASS or FAIL for
# every expectation; the status is 0 if all were met.
: "${PACKAGES_SUITE:=trixie}"
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -x "${1-}" ] || { echo "usage: initramfs.sh DKMS" >&2 && exit 2; }
alone "$@"

prepare() {
	make_base base ca-certificates kmod zstd
	make_root initramfs
	in_root apt-get install -qy linux-image-amd64 linux-headers-amd64 gcc make xz-utils openssl initramfs-tools systemd-ukify systemd-boot-efi \
		>"$log" 2>&1 || { cat "$log" && exit 2; }
	install -m 755 "$1" "$root/usr/sbin/dkms"
	kernel=$(ls "$root/lib/modules")
	mkdir -p "$root/etc/dkms"
	build_number=0
}

# another makes another build of the module and installs it.
another() {
	build_number=$((build_number + 1))
	module_sources "$root/usr/src/inside-1.0" inside '' "int inside_$build_number = $build_number;"
	in_root dkms install --force inside/1.0 -k "$kernel"
}

check() { in_root dkms check -k "$kernel"; }

# try TOOL MAKE LOSE: MAKE makes an image, and LOSE has it lose the module.
try() {
	step "$1"
	rm -f "$root/etc/dkms/framework.conf"
	expect "$1: the module is installed" another
	expect "$1: the image is made" in_root sh -c "$2"
	expect "$1: an image with the same build is right" check
	expect "$1: another build is installed" another
	said "$1: it is said that the image is stale" "warning: .* holds an old copy of inside; make it again"
	reject "$1: check says so" 11 check
	said "$1: and names the image" "inside/1.0: stale: .* holds another build of inside"
	if [ -n "${refreshed-}" ]; then
		echo refresh_initramfs=yes >"$root/etc/dkms/framework.conf"
		expect "$1: another build is installed, and the image made again" another
		said "$1: that is said" "^dkms: making .* again: it holds an old copy of inside"
		if [ "$(grep -c ' again: ' "$log")" = 1 ] && ! grep -q 'still not right' "$log"; then pass "$1: once"; else fail "$1: once"; fi
	else
		in_root sh -c "$2" >"$log" 2>&1
	fi
	expect "$1: the image is right again" check
	expect "$1: the same build is installed" in_root dkms install --force inside/1.0 -k "$kernel"
	if grep -Eq 'again:|old copy' "$log"; then fail "$1: the image is left alone"; else pass "$1: the image is left alone"; fi
	expect "$1: the image loses the module" in_root sh -c "$3"
	reject "$1: check says so" 11 check
	said "$1: and names the image" "inside/1.0: stale: .* holds no inside any more"
	rm -f "$root"/boot/initr* "$root"/efi/EFI/Linux/* "$root/var/lib/dkms/.initramfs-"*
}

prepare "$@"
refreshed=yes
try initramfs-tools "echo inside >>/etc/initramfs-tools/modules; update-initramfs -c -k $kernel" \
	"sed -i /inside/d /etc/initramfs-tools/modules; update-initramfs -u -k $kernel"

refreshed=
mkdir -p "$root/efi/EFI/Linux"
unified="mkinitramfs -o /tmp/initrd $kernel; ukify build --linux /boot/vmlinuz-$kernel --initrd /tmp/initrd --uname $kernel --output /efi/EFI/Linux/debian.efi"
try ukify "echo inside >>/etc/initramfs-tools/modules; $unified" "sed -i /inside/d /etc/initramfs-tools/modules; $unified"

in_root apt-get install -qy dracut >"$log" 2>&1 || cat "$log"
refreshed=yes
rm -f "$root"/boot/initr*
try dracut "echo 'add_drivers+=\" inside \"' >/etc/dracut.conf.d/inside.conf; dracut --force /boot/initrd.img-$kernel $kernel" \
	"echo 'omit_drivers+=\" inside \"' >/etc/dracut.conf.d/inside.conf; dracut --force /boot/initrd.img-$kernel $kernel"

# mkinitcpio and booster make what they are asked for, and come without a package.
# What they run comes first: apt would bring back a tool that the kernel's package
# depends on, and that one makes an image for busybox.
in_root apt-get install -qy busybox libarchive-tools gawk file >"$log" 2>&1 || cat "$log"
rm -f "$root"/boot/initr*
in_root dpkg --purge --force-depends dracut dracut-core initramfs-tools initramfs-tools-bin initramfs-tools-core >"$log" 2>&1
if [ -n "${INITRAMFS_MKINITCPIO-}" ]; then
	lay "$INITRAMFS_MKINITCPIO" "$root/usr/lib/initcpio"
	cp "$root/usr/bin/busybox" "$root/usr/lib/initcpio"
	for file in mkinitcpio lsinitcpio; do
		sed -e 's|@VERSION@|0|; s|@BINDIR@|/usr/sbin:/usr/bin|; s|@SYSCONFDIR@|/etc|' -e 's|@INITCPIO_LIBDIR@|/usr/lib/initcpio|' \
			-e 's|@INITCPIO_SYSCONFDIR@|/etc/initcpio|' "$root/usr/lib/initcpio/$file" >"$root/usr/bin/$file"
		chmod 755 "$root/usr/bin/$file"
	done
	make="mkinitcpio -k $kernel -g /boot/initramfs-$kernel.img"
	try mkinitcpio "printf 'MODULES=(inside)\nHOOKS=(base)\n' >/etc/mkinitcpio.conf; $make" "echo 'HOOKS=(base)' >/etc/mkinitcpio.conf; $make"
	rm "$root/usr/bin/mkinitcpio"
else
	echo "initramfs.sh: INITRAMFS_MKINITCPIO is not set, mkinitcpio is not tried" >&2
fi

if [ -n "${INITRAMFS_BOOSTER-}" ]; then
	lay "$INITRAMFS_BOOSTER" "$root/usr/src/booster"
	mkdir -p "$root/usr/lib/booster"
	mount --bind /sys "$root/sys" || exit # it wants to know this machine's modules
	for program in generator init; do
		CGO_ENABLED=0 "${GO:-go}" build -C "$root/usr/src/booster" -o "$root/usr/lib/booster/$program" "./$program" || exit
	done
	mv "$root/usr/lib/booster/generator" "$root/usr/bin/booster"
	make="booster build --force --kernel-version $kernel /boot/initramfs-$kernel.img"
	try booster "printf 'universal: true\nmodules: inside\n' >/etc/booster.yaml; $make" "echo 'universal: true' >/etc/booster.yaml; $make"
else
	echo "initramfs.sh: INITRAMFS_BOOSTER is not set, booster is not tried" >&2
fi
conclude "Debian $suite, kernel $kernel"
