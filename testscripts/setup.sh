#!/bin/sh
# Makes sure that what the tests and the demonstration run is installed:
# setup.sh [demo|test|arch|differential|images|bench|vm|gentoo|alpine]. On Debian and Ubuntu root installs it; everybody else is
# told what is missing.
set -eu
what=${1-test}

# program:package as Debian names it
need="gcc:gcc depmod:kmod patch:patch xz:xz-utils zstd:zstd openssl:openssl strip:binutils"
if [ "$what" = vm ]; then
	need="$need debootstrap:debootstrap qemu-system-x86_64:qemu-system-x86 mke2fs:e2fsprogs lz4:lz4 dpkg:dpkg mkfs.vfat:dosfstools mcopy:mtools
		/usr/share/OVMF/OVMF_VARS_4M.fd:ovmf"
fi
if [ "$what" = differential ] || [ "$what" = bench ]; then
	need="$need debootstrap:debootstrap unshare:util-linux nsenter:util-linux"
fi
if [ "$what" = images ]; then
	need="$need debootstrap:debootstrap cpio:cpio qemu-system-aarch64:qemu-system-arm"
fi
if [ "$what" = test ] || [ "$what" = differential ] || [ "$what" = bench ]; then
	need="$need strace:strace diff:diffutils run-parts:debianutils mandoc:mandoc jq:jq zsh:zsh fish:fish
		bzip2:bzip2 lz4:lz4 llvm-strip:llvm file:file lsinitramfs:initramfs-tools-core cpio:cpio
		shellcheck:shellcheck systemd-analyze:systemd kernel-install:systemd script:bsdutils sign-file:linux-headers-amd64
		/usr/include/libelf.h:libelf-dev softhsm2-util:softhsm2 swtpm:swtpm
		skopeo:skopeo docker-registry:docker-registry umoci:umoci busybox:busybox-static
		ccache:ccache distccd:distcc rpm:rpm python3:python3 aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
		fakeroot:fakeroot makepkg:makepkg pacman:pacman-package-manager bsdtar:libarchive-tools mkfs.erofs:erofs-utils unsquashfs:squashfs-tools
		grub-mkconfig:grub-common bootctl:systemd-boot /usr/lib/systemd/boot/efi/linuxx64.efi.stub:systemd-boot-efi"
fi
if [ "$what" = gentoo ]; then
	need="$need git:git python3:python3 scanelf:pax-utils bzip2:bzip2 unshare:util-linux"
fi
if [ "$what" = alpine ]; then
	need="$need git:git busybox:busybox-static fakeroot:fakeroot scanelf:pax-utils getcap:libcap2-bin bc:bc pkg-config:pkg-config
		/usr/include/openssl/evp.h:libssl-dev /usr/include/zlib.h:zlib1g-dev unshare:util-linux"
fi
if [ "$what" = arch ]; then
	need="$need qemu-s390x:qemu-user"
fi
missing='' packages=''
for pair in $need; do
	program=${pair%%:*}
	case $program in
	/*) [ -e "$program" ] && continue ;;
	sign-file) ls /usr/lib/linux-kbuild-*/scripts/sign-file >/dev/null 2>&1 && continue ;;
	*) command -v "$program" >/dev/null 2>&1 && continue ;;
	esac
	missing="$missing $program" packages="$packages ${pair##*:}"
done
# Three real kernels to build for, where Debian has them.
for flavour in amd64 cloud-amd64 rt-amd64; do
	[ "$what" != images ] || break
	[ "$what" != demo ] || [ $flavour = amd64 ] || continue
	ls -d /lib/modules/*[0-9]-$flavour/build >/dev/null 2>&1 || headers="${headers-} linux-headers-$flavour"
done

# What the kernel's sign-file reaches the keys in TPMs and on tokens by.
provider=''
if [ "$what" = test ] && [ -z "$(find /usr/lib* -path '*/ossl-modules/tpm2.so')" ]; then
	missing="$missing tpm2.so" packages="$packages tpm2-openssl"
fi
if [ "$what" = test ] && ! openssl list -providers -provider pkcs11 >/dev/null 2>&1; then provider=pkcs11-provider; fi

# backport PACKAGE installs what this release of Debian has in its backports
# only, from where the release itself comes; what apt knows stays as it is.
backport() {
	codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	# shellcheck disable=SC2016 # names of apt
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" | head -n 1)
	temp=$(mktemp -d)
	mkdir "$temp/lists"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $codename-backports main" >"$temp/sources"
	only="-o Dir::Etc::SourceList=$temp/sources -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$temp/lists -o APT::Sandbox::User=root"
	# shellcheck disable=SC2086 # a list of words
	apt-get update -qq $only && apt-get install -y -qq --no-install-recommends $only "$1" >&2 || status=$?
	rm -r "$temp"
	return "${status-0}"
}

if [ -n "$missing${headers-}$provider" ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		[ -z "$missing" ] && exit 0 # the rest is optional
		echo "setup: these programs are missing:$missing" >&2
		echo "setup: install them with your package manager and try again (on Debian:$packages)" >&2
		exit 1
	fi
	echo "setup: installing$packages${headers-} $provider" >&2
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	if [ -n "$packages" ]; then
		# shellcheck disable=SC2086 # a list of words
		apt-get install -y -qq --no-install-recommends $packages >&2
	fi
	if [ -n "${headers-}" ]; then
		# shellcheck disable=SC2086
		apt-get install -y -qq --no-install-recommends $headers >&2 ||
			echo "setup: no kernel headers can be installed; a fake kernel serves instead" >&2
	fi
	if [ -n "$provider" ]; then
		apt-get install -y -qq --no-install-recommends "$provider" >/dev/null 2>&1 || backport "$provider" ||
			echo "setup: $provider cannot be installed; nothing is signed with keys on tokens" >&2
	fi
fi
