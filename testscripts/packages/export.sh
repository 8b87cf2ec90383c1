#!/bin/sh
# export.sh DKMS: packages that "dkms export" makes with dpkg-deb, rpmbuild and
# makepkg of Debian trixie, and dpkg, rpm and pacman that install them in roots
# without dkms. The kernel is a small one that really builds modules, and belongs
# to a package of each kind. Prints PASS or FAIL for every expectation; the
# status is 0 if all were met.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_SUITE=trixie
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -x "${1-}" ] || { echo "usage: export.sh DKMS (made by make)" >&2 && exit 2; }
alone "$@"
release=6.9.1-1.fc42
name=hello-modules-$release

# builder is the machine that builds, with a package of the kernel of each kind.
builder() {
	make_base base ca-certificates kmod zstd
	make_root builder
	in_root apt-get install -qy gcc libc6-dev make patch binutils xz-utils rpm makepkg pacman-package-manager fakeroot \
		libarchive-tools >"$log" 2>&1 || { cat "$log" && exit 2; }
	install -m 755 "$1" "$root/usr/sbin/dkms"
	cp -r "$here/fakekernel" "$root/fakekernel"
	in_root useradd --create-home maker
	in_root sh -c "sh /fakekernel/install.sh /kernel $release && mkdir /kernel/usr/lib && mv /kernel/lib/modules /kernel/usr/lib &&
		rm -r /kernel/lib /kernel/usr/src /kernel/usr/lib/modules/$release/build && : >/kernel/boot/vmlinuz-$release" >"$log" 2>&1 || { cat "$log" && exit 2; }
	in_root sh /fakekernel/install.sh / "$release" >"$log" 2>&1 || { cat "$log" && exit 2; }
	: >"$root/boot/vmlinuz-$release"
	mkdir -p "$root/etc/dkms" && echo 'try_sign_modules=true' >"$root/etc/dkms/framework.conf" || exit
	kernel_packages >"$log" 2>&1 || { cat "$log" && exit 2; }
}

kernel_packages() {
	mkdir "$root/kernel.deb" && cp -a "$root/kernel/." "$root/kernel.deb" && mkdir "$root/kernel.deb/DEBIAN" || return
	printf 'Package: linux-image-%s\nVersion: 6.9.1-1\nArchitecture: amd64\nMaintainer: nobody\nDescription: a kernel\n' \
		"$release" >"$root/kernel.deb/DEBIAN/control"
	in_root dpkg-deb --build --root-owner-group kernel.deb /packages/kernel.deb || return
	cat >"$root/kernel.spec" <<-END
		Name: kernel-core
		Version: 6.9.1
		Release: 1.fc42
		Summary: x
		License: x
		AutoReqProv: no
		Provides: kernel-uname-r = $release
		%description
		x
		%install
		cp -a /kernel/. %{buildroot}
		%files
		/boot/*
		/usr/lib/modules/$release
	END
	in_root rpmbuild -bb --define '_rpmdir /packages' --define '_rpmfilename kernel.rpm' --define '__os_install_post %{nil}' kernel.spec || return
	cat >"$root/home/maker/PKGBUILD" <<-END
		pkgname=linux pkgver=6.9.1.arch1 pkgrel=1 arch=(x86_64) pkgdesc=x license=(x) url=x
		package() { cp -a /kernel/. "\$pkgdir"; }
	END
	chroot --userspec=maker:maker "$root" env -i HOME=/home/maker PATH=/usr/sbin:/usr/bin sh -c 'cd && makepkg --nodeps' || return
	mv "$root"/home/maker/linux-*.pkg.tar.* "$root/packages/linux.pkg" || return
	in_root dpkg -i /packages/kernel.deb && in_root rpm -i --nodeps --replacefiles /packages/kernel.rpm &&
		in_root pacman --noconfirm --overwrite '*' -U /packages/linux.pkg
}

# there is a machine without dkms that has the kernel. The packages that were
# made come along.
there() {
	from=$root
	make_root there
	in_root apt-get install -qy rpm pacman-package-manager >"$log" 2>&1 || { cat "$log" && exit 2; }
	cp "$from"/packages/* "$root/packages"
	expect "it has no dkms" in_root sh -c "! command -v dkms"
}

# depends TEXT DEPENDENCY COMMAND...: one of the dependencies that are printed is
# that.
depends() {
	text=$1 want=$2 && shift 2
	in_root "$@" >"$log" 2>&1
	if grep -Fq -- "$want" "$log"; then pass "$text"; else fail "$text (want $want)"; fi
}

same() { cmp "$root"/again/* "$root/packages/$(ls "$root/again")"; }

made() {
	step "the packages"
	for v in 1.0 2.0; do
		dir=$root/usr/src/hello-$v
		mkdir -p "$dir"
		printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_VERSION("%s");\n' $v >"$dir/hello.c"
		echo 'obj-m := hello.o' >"$dir/Makefile"
		printf 'PACKAGE_NAME=hello\nPACKAGE_VERSION=%s\nBUILT_MODULE_NAME[0]=hello\nDEST_MODULE_LOCATION[0]=/extra\nAUTOINSTALL=yes\n' $v >"$dir/dkms.conf"
		expect "hello $v is built" in_root dkms build "hello/$v" -k "$release"
		for format in deb rpm pacman; do
			expect "and becomes a package: $format" in_root dkms export "hello/$v" -k "$release" --format $format --archive /packages
			reject "no warning is given" 1 grep -q warning "$log"
		done
	done
	for format in deb rpm pacman; do
		mkdir "$root/again"
		in_root dkms export hello/1.0 -k "$release" --format $format --archive /again >"$log" 2>&1
		expect "the same build makes the same package: $format" same
		rm -r "$root/again"
	done
	depends "the .deb depends on the kernel's package" "linux-image-$release" dpkg-deb -f "/packages/${name}_1.0-1_amd64.deb" Depends
	depends "the .rpm depends on the kernel by its release" "kernel-uname-r = $release" rpm -qp --requires "/packages/$name-1.0-1.x86_64.rpm"
	depends "pacman's package depends on the kernel in its version" "linux=6.9.1.arch1-1" bsdtar -xOf "/packages/$name-1.0-1-x86_64.pkg.tar.zst" .PKGINFO
	depends "the .rpm tells its source" "Source-Digest: sha256:" rpm -qpi "/packages/$name-1.0-1.x86_64.rpm"
	in_root sha256sum "/var/lib/dkms/hello/1.0/$release/x86_64/module/hello.ko" >"$log"
	sum=$(cut -c 1-64 "$log")
}

# story FORMAT OLD NEW KERNEL DATABASE VERIFY REMOVE LIST: the life of a machine
# by command lines of one package manager.
story() {
	step "$1, on a machine without dkms"
	reject "the module is not installed without the kernel" 1 in_root sh -c "$2 || exit 1"
	gone "and nothing of it is there" "/usr/lib/modules/$release" /usr/share/dkms-modules
	expect "the kernel is installed" in_root sh -c "$4"
	in_root depmod "$release"
	expect "the module is installed" in_root sh -c "$2"
	file=$root/usr/lib/modules/$release/updates/dkms/hello.ko
	expect "it is the one that was built" [ "$(sha256sum <"$file" | cut -c 1-64)" = "$sum" ]
	expect "its signature is there" sh -c "tail -c 28 '$file' | grep -q 'Module signature appended'"
	expect "modprobe finds it" in_root modprobe --set-version "$release" --show-depends --dry-run hello
	expect "no file is missing or changed" in_root sh -c "$5"
	expect "it is upgraded" in_root sh -c "$3"
	expect "to the new version" [ "$(in_root modinfo -k "$release" -F version hello)" = 2.0 ]
	expect "it is removed" in_root sh -c "$6"
	gone "nothing of it is left" "/usr/lib/modules/$release/updates" /usr/share/dkms-modules
	reject "the index does not have it" 1 in_root modprobe --set-version "$release" --show-depends --dry-run hello
	mkdir -p "$root/var/lib/dkms/hello" && ln -s "0.9/$release/x86_64" "$root/var/lib/dkms/hello/kernel-$release-x86_64"
	mkdir -p "$root/usr/lib/modules/$release/updates/dkms" && : >"$root/usr/lib/modules/$release/updates/dkms/hello.ko"
	reject "it does not get in the way of dkms" 1 in_root sh -c "$2 || exit 1"
	said "and says why" "dkms has installed hello/0.9|exists in filesystem"
	rm -r "$root/var/lib/dkms" "$root/usr/lib/modules/$release/updates"
	expect "the kernel is removed" in_root sh -c "$7"
}

builder "$@"
made
there
story dpkg "apt-get install -qy /packages/${name}_1.0-1_amd64.deb" "apt-get install -qy /packages/${name}_2.0-1_amd64.deb" "dpkg -i /packages/kernel.deb" \
	"! dpkg --verify $name | grep ." "dpkg -r $name" "dpkg -P $name linux-image-$release"
# kmod is Debian's, which rpm and pacman cannot know.
printf 'Name: kmod\nVersion: 99\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\nProvides: /bin/sh\n%%description\nx\n%%files\n' >"$root/kmod.spec"
in_root sh -c "rpmbuild -bb --define '_rpmdir /packages' --define '_rpmfilename kmod.rpm' kmod.spec && rpm -i /packages/kmod.rpm" >"$log" 2>&1 || { cat "$log" && exit 2; }
story rpm "rpm -i /packages/$name-1.0-1.x86_64.rpm" "rpm -U /packages/$name-2.0-1.x86_64.rpm" "rpm -i /packages/kernel.rpm" \
	"rpm -V $name" "rpm -e $name" "rpm -e kernel-core"
pacman="pacman --noconfirm --assume-installed kmod=99"
story pacman "$pacman -U /packages/$name-1.0-1-x86_64.pkg.tar.zst" "$pacman -U /packages/$name-2.0-1-x86_64.pkg.tar.zst" \
	"$pacman -U /packages/linux.pkg" "pacman -Qkk $name" "$pacman -R $name" "$pacman -R linux"
conclude "as dpkg, rpm and pacman of Debian trixie have it"
