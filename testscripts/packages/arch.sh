#!/bin/sh
# arch.sh SOURCES VENDOR: the life of an Arch machine with our dkms, as far as
# makepkg and pacman of Debian trixie are one: the package is built from the
# archives that "make source" makes, and kernels and modules come, go, break
# and are mended in transactions of pacman, with hooks that are the package's
# own. Kernels are small ones that really build modules. Prints PASS or FAIL
# for every expectation; the status is 0 if all were met.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_SUITE=trixie
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -f "${2-}" ] || { echo "usage: arch.sh SOURCES VENDOR (made by make source)" >&2 && exit 2; }
alone "$@"

prepare() {
	make_base base ca-certificates kmod zstd
	make_root arch
	in_root apt-get install -qy makepkg pacman-package-manager gcc libc6-dev make patch binutils xz-utils bash fakeroot file \
		libarchive-tools >"$log" 2>&1 || { cat "$log" && exit 2; }
	in_root useradd --create-home builder
	goroot=$("${GO:-go}" env GOROOT)
	mkdir -p "$root/usr/local/go" "$cache/go-build" "$root/var/cache/go" "$root/home/builder/fakekernel"
	mount --bind "$goroot" "$root/usr/local/go" && mount --bind "$cache/go-build" "$root/var/cache/go" || exit
	cp -r "$here/fakekernel/." "$root/home/builder/fakekernel"
	cp "$here/../dist/arch/PKGBUILD" "$@" "$root/home/builder"
	in_root chown -R builder: /home/builder /var/cache/go
}

# depmod_hook stands in for the hook of Arch's kmod, which Debian's lacks: a
# kernel that came has an index before our hooks run, and none when it has gone.
depmod_hook() {
	mkdir -p "$root/etc/pacman.d/hooks"
	printf '[Trigger]\nOperation = Install\nOperation = Upgrade\nOperation = Remove\nType = Path\n%s\n[Action]\n%s\n%s\nNeedsTargets\n' \
		'Target = usr/lib/modules/*/modules.order' 'When = PostTransaction' 'Exec = /usr/local/bin/depmod-hook' >"$root/etc/pacman.d/hooks/60-depmod.hook"
	cat >"$root/usr/local/bin/depmod-hook" <<-'END'
		#!/bin/sh
		while read -r path; do
			dir=/${path%/modules.order}
			if [ -e "/$path" ]; then depmod "${dir##*/}"; else rm -f "$dir"/modules.* && rmdir "$dir"; fi
		done
	END
	chmod 755 "$root/usr/local/bin/depmod-hook"
}

# makepkg DIR: builds the package of the PKGBUILD there, into /packages. That
# gcc and the others are Debian's, pacman cannot know.
makepkg() {
	# shellcheck disable=SC2016 # for the shell inside
	chroot --userspec=builder:builder "$root" env -i HOME=/home/builder LANG=C.UTF-8 GOCACHE=/var/cache/go \
		PATH=/usr/local/go/bin:/usr/sbin:/usr/bin PKGDEST=/tmp/made sh -c 'cd "$1" && makepkg --force --nodeps' - "$1" </dev/null >"$log" 2>&1 || return
	mv "$root"/tmp/made/* "$root/packages"
}

# package NAME VERSION: makes a package of what $files, below /home/builder, has.
package() {
	cat >"$files/../PKGBUILD" <<-END
		pkgname=$1 pkgver=$2 pkgrel=1 pkgdesc=$1 arch=(any) license=(GPL) url=none options=(!strip !debug)
		package() { cp -R "\$startdir/root/." "\$pkgdir"; }
	END
	in_root chown -R builder: /home/builder
	makepkg "/home/builder/$1-$2" || { cat "$log" && exit 2; }
}

# kernel NAME RELEASE: a package with a kernel and its headers.
kernel() {
	files=$root/home/builder/$1-$(echo "$2" | tr - _)/root
	mkdir -p "$files"
	in_root sh /home/builder/fakekernel/install.sh "${files#"$root"}" "$2" >"$log" 2>&1 || { cat "$log" && exit 2; }
	rm "$files/lib/modules/$2/build"
	mv "$files/usr/src/linux-headers-$2" "$files/lib/modules/$2/build"
	mv "$files/lib" "$files/usr/lib"
	rm -r "$files/usr/src" "${files:?}/boot"
	find "$files" -name 'modules.*' ! -name modules.order ! -name modules.builtin -delete
	package "$1" "$(echo "$2" | tr - _)"
}

# headers NAME RELEASE: a package with the headers alone, in the repository.
headers() {
	kernel "$1" "$2"
	rm "$root/packages/$1-$(echo "$2" | tr - _)"-*
	rm -r "$files/usr/lib/modules/$2/kernel" "$files/usr/lib/modules/$2"/modules.*
	package "$1" "$(echo "$2" | tr - _)"
}

# module NAME VERSION [LINE [CONF]]: a package with the sources of a module.
module() {
	files=$root/home/builder/$1-dkms-$2/root
	dir=$files/usr/src/$1-$2
	mkdir -p "$dir"
	printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_VERSION("%s");\n%s\n' "$2" "${3-}" >"$dir/$1.c"
	echo "obj-m := $1.o" >"$dir/Makefile"
	printf 'PACKAGE_NAME=%s\nPACKAGE_VERSION=%s\nBUILT_MODULE_NAME[0]=%s\nDEST_MODULE_LOCATION[0]=/updates\nAUTOINSTALL=yes\n%s\n' \
		"$1" "$2" "$1" "${4-}" >"$dir/dkms.conf"
	package "$1-dkms" "$2"
}

# pacman TEXT ARGUMENTS...: a transaction is carried out; patterns are of the
# machine.
pacman() {
	text=$1 && shift
	for name in bash binutils gcc glibc kmod make patch; do set -- --assume-installed "$name=99" "$@"; done
	expect "$text" in_root sh -c "pacman --noconfirm $*"
	cat "$log" >>"$cache/pacman.log"
}

# status TEXT [LINE...]: dkms status prints these lines in some order.
status() {
	text=$1 && shift
	want=$(printf '%s\n' "$@" | sort)
	in_root dkms status >"$log" 2>&1
	if [ "$(sort "$log")" = "$want" ]; then pass "$text"; else fail "$text (want $*)"; fi
}

# indexed TEXT KERNEL MODULE...: what is below updates, and in the index, is this.
indexed() {
	text=$1 dir=$root/usr/lib/modules/$2 && shift 2
	want=$(for name; do echo "updates/dkms/$name.ko"; done)
	got=$(sed -n 's/^\(updates[^:]*\):.*/\1/p' "$dir/modules.dep" | sort)
	there=$(cd "$dir" && find updates -name '*.ko*' 2>/dev/null | sort)
	printf 'index:\n%s\nfiles:\n%s\n' "$got" "$there" >"$log"
	if [ "$got" = "$want" ] && [ "$there" = "$want" ]; then pass "$text"; else fail "$text (want $want)"; fi
}

ours_comes() {
	step "our package"
	expect "makepkg builds it" makepkg /home/builder
	pacman "pacman installs it" -U /packages/dkms-3*.pkg.tar.*
	expect "it runs" in_root dkms --version
	expect "the programs are position independent" sh -c "readelf -h '$root/usr/bin/dkms' | grep DYN && readelf -h '$root/usr/lib/dkms/dkms-hook' | grep DYN"
	expect "no file of it is missing or changed" in_root pacman -Qkk dkms
	for file in LICENSE licenses.txt; do expect "it brings $file" [ -s "$root/usr/share/licenses/dkms/$file" ]; done
	in_root pacman -Qi dkms >"$log"
	said "and a home page" "^URL +: https://"
}

make_packages() {
	for release in 6.9.1-arch1-1 6.9.2-arch1-1 6.9.3-arch1-1; do kernel linux $release; done
	kernel linux-lts 6.6.1-1-lts
	for v in 1.0 2.0 3.0 5.0; do module hello $v; done
	module hello 4.0 '#error broken on purpose'
	module base 1.0
	module user 1.0 '' 'BUILD_DEPENDS[0]=base'
}

transactions() {
	step "install"
	pacman "a kernel and a module in one go" -U /packages/linux-6.9.1* /packages/hello-dkms-1.0*
	status "it is installed" "hello/1.0, 6.9.1-arch1-1, x86_64: installed"
	indexed "and modprobe finds it" 6.9.1-arch1-1 hello
	pacman "another kernel" -U /packages/linux-lts-6.6.1*
	both=6.9.1-arch1-1 && installed_for_both 1.0

	step "upgrade"
	pacman "the module" -U /packages/hello-dkms-2.0*
	installed_for_both 2.0
	gone "nothing is left of the old version" /var/lib/dkms/hello/1.0 /usr/src/hello-1.0
	pacman "the kernel" -U /packages/linux-6.9.2*
	both=6.9.2-arch1-1 && installed_for_both 2.0
	gone "nothing is left of the old kernel" /usr/lib/modules/6.9.1-arch1-1 /var/lib/dkms/hello/2.0/6.9.1-arch1-1
	pacman "both in one go" -U /packages/linux-6.9.3* /packages/hello-dkms-3.0*
	both=6.9.3-arch1-1 && installed_for_both 3.0
	pacman "the same kernel once more" -U /packages/linux-6.9.3*
	installed_for_both 3.0

	step "broken, and back"
	pacman "a version that does not compile is no failure of pacman's" -U /packages/hello-dkms-4.0*
	said "it is said" "hello/4\.0"
	status "it is added" "hello/4.0: added"
	indexed "and nothing is installed" 6.9.3-arch1-1
	pacman "a version that does" -U /packages/hello-dkms-5.0*
	installed_for_both 5.0
	pacman "the working one before that" -U /packages/hello-dkms-3.0*
	installed_for_both 3.0
	pacman "a module and what it depends on, the wrong way round" -U /packages/user-dkms-1.0* /packages/base-dkms-1.0*
	indexed "all are there" 6.9.3-arch1-1 base hello user

	step "before a transaction"
	headers linux-headers 6.9.4-arch1-1
	module picky 1.0 '' "MAKE[0]='[ \$kernelver != 6.9.4-arch1-1 ] && make -C \$kernel_source_dir M=\$dkms_tree/picky/1.0/build'"
	pacman "a module that will not build for every kernel" -U /packages/picky-dkms-1.0*
	expect "a repository" in_root sh -c 'repo-add -q /packages/test.db.tar.gz /packages/linux-headers-6.9.4* &&
		printf "[test]\nSigLevel = Optional TrustAll\nServer = file:///packages\n" >>/etc/pacman.conf && pacman -Sy'
	expect "and builds for this one" in_root sh -c "dkms status picky -k 6.9.3-arch1-1 | grep installed"
	guard "headers from the repository" -S linux-headers
	guard "headers from a file" -U "/packages/linux-headers-6.9.4*"
	pacman "the module goes" -R picky-dkms

	step "remove"
	pacman "modules" -R base-dkms user-dkms
	installed_for_both 3.0
	pacman "a kernel" -R linux-lts
	status "it is forgotten" "hello/3.0, 6.9.3-arch1-1, x86_64: installed"
	gone "with its directory" /usr/lib/modules/6.6.1-1-lts
	pacman "the module" -R hello-dkms
	status "nothing is registered"
	indexed "or in place" 6.9.3-arch1-1
	gone "or left" /var/lib/dkms/hello
	echo '# a word of the administrator' >>"$root/etc/dkms/framework.conf"
	pacman "dkms itself" -R dkms
	expect "the changed configuration is kept" [ -f "$root/etc/dkms/framework.conf.pacsave" ]
	gone "the programs and hooks are gone" /usr/bin/dkms /usr/lib/dkms /usr/share/libalpm/hooks/70-dkms-install.hook \
		/usr/share/libalpm/scripts/dkms /usr/lib/systemd/system/dkms.service
	pacman "a kernel does not miss it" -R linux
}

# guard TEXT ARGUMENTS...: pacman says before it installs these headers that a
# module will not build for them, and stops where that is wanted.
guard() {
	about=$1 && shift
	echo upgrade_guard=refuse >"$root/etc/dkms/framework.conf.d/guard.conf"
	reject "$about: refused" 1 in_root sh -c "pacman --noconfirm $*"
	said "$about: the reason" "picky/1.0: make failed"
	said "$about: pacman names the hook" "failed to run transaction hooks"
	reject "$about: nothing is installed" 1 in_root pacman -Q linux-headers
	rm "$root/etc/dkms/framework.conf.d/guard.conf"
	pacman "$about: installed all the same" "$@"
	said "$about: with a warning" "1 of 4 modules will not build for 6.9.4-arch1-1"
	pacman "$about: removed" -R linux-headers
}

installed_for_both() {
	status "$1 is installed for both" "hello/$1, $both, x86_64: installed" "hello/$1, 6.6.1-1-lts, x86_64: installed"
	indexed "modprobe finds it for $both" "$both" hello
	indexed "and for 6.6.1-1-lts" 6.6.1-1-lts hello
}

: >"$cache/pacman.log"
prepare "$@"
depmod_hook
ours_comes
make_packages
transactions
conclude "all that pacman said is in $cache/pacman.log"
