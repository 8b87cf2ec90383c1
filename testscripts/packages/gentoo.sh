#!/bin/sh
# gentoo.sh SOURCES VENDOR: the life of a Gentoo machine with our dkms, as far as
# Portage and Gentoo's eclasses make one: this machine once more, in memory, with
# a profile of a few lines. Portage builds both ebuilds from this checkout and
# from the archives that "make source" makes; a package that inherits
# dkms.eclass comes, is upgraded, configured and removed; installkernel installs
# a kernel. Where those are says
#   GENTOO_PORTAGE        Portage
#   GENTOO_ECLASSES       eclasses; of several places, the first that has one counts
#   GENTOO_INSTALLKERNEL  installkernel
# each a directory as in their repositories, or a git directory. GENTOO_PKGCHECK is
# pkgcheck, a program that reads /etc/portage; without it that step is left out.
# Dependencies are not resolved: that gcc and the others are this machine's,
# Portage cannot know. Prints PASS or FAIL for every expectation; the status is 0
# if all were met, and 77 where something is missing.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_CACHE=${PACKAGES_CACHE:-/var/tmp/dkms-packages} PACKAGES_SUITE=host
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -f "${2-}" ] || { echo "usage: gentoo.sh SOURCES VENDOR (made by make source)" >&2 && exit 2; }
missing=''
for name in GENTOO_PORTAGE GENTOO_ECLASSES GENTOO_INSTALLKERNEL; do
	eval "[ -n \"\${$name-}\" ]" || missing="$missing $name"
done
for program in scanelf python3 git bzip2; do command -v $program >/dev/null || missing="$missing $program"; done
if [ -n "$missing" ]; then
	echo "gentoo.sh: not set or not installed:$missing" >&2
	[ -n "${CI-}" ] || exit 77
	exit 1
fi
alone "$@"
repo=/var/db/repos/gentoo local=/var/db/repos/local
goroot=$("${GO:-go}" env GOROOT)
proxy=$("${GO:-go}" env GOPROXY)
machine=$(uname -m)
case $machine in aarch64) arch=arm64 ;; *) arch=amd64 ;; esac

prepare() {
	overlay_root gentoo
	lay "$GENTOO_PORTAGE" "$root/opt/portage"
	lay "$GENTOO_INSTALLKERNEL" "$root/opt/installkernel"
	places=''
	for place in $GENTOO_ECLASSES; do places="$place $places"; done
	for place in $places; do lay "$place" "$root$repo" eclass; done
	for name in dkms git-r3 go-module linux-info linux-mod-r1 optfeature systemd; do
		[ -e "$root$repo/eclass/$name.eclass" ] || { echo "gentoo.sh: $name.eclass is not in GENTOO_ECLASSES" >&2 && exit 77; }
	done
	mkdir -p "$root/etc/portage/repos.conf" "$root/usr/share/portage/config" "$root/var/lib/portage" "$root/var/cache/distfiles"
	cp -R "$root/opt/portage/cnf/sets" "$root/usr/share/portage/config"
	[ -e "$root/usr/bin/python" ] || ln -s python3 "$root/usr/bin/python"
	ln -sf /opt/portage/bin/portageq "$root/usr/bin/portageq"
	for tool in gcc g++ ld ar nm objcopy objdump readelf strip; do ln -sf $tool "$root/usr/bin/$machine-pc-linux-gnu-$tool"; done
	[ -e "$root/usr/bin/gtar" ] || ln -s "$(command -v tar)" "$root/usr/bin/gtar"
	profile
	settings
	mkdir -p "$root$local/sys-kernel"
	cp -RP "$here/../dist/gentoo/sys-kernel/dkms" "$root$local/sys-kernel"
	git clone -q --bare "$here/.." "$root/usr/src/dkms" || exit
	hello 1.0 && hello 2.0
	printf 'ID=gentoo\nPRETTY_NAME="Gentoo, or nearly"\n' >"$root/tmp/os-release"
	mv -f "$root/tmp/os-release" "$root/etc/os-release"
	running=$(uname -r)
	for release in 6.9.1-gentoo 6.9.2-gentoo "$running"; do kernel "$release"; done
	chosen 6.9.1-gentoo
}

# profile makes the least that Portage takes for repositories and a profile.
profile() {
	mkdir -p "$root$repo/profiles/least" "$root$repo/metadata" "$root$local/profiles" "$root$local/metadata"
	printf 'masters =\nthin-manifests = true\n' >"$root$repo/metadata/layout.conf"
	printf 'masters = gentoo\nthin-manifests = true\n' >"$root$local/metadata/layout.conf"
	echo gentoo >"$root$repo/profiles/repo_name" && echo local >"$root$local/profiles/repo_name"
	printf '%s\n' amd64 arm64 riscv x86 >"$root$repo/profiles/arch.list"
	echo "$arch least stable" >"$root$repo/profiles/profiles.desc"
	mkdir "$root$repo/licenses" && (cd "$root$repo/licenses" && touch 0BSD Apache-2.0 BSD MIT)
	for name in app-arch/unzip app-shells/bash dev-build/make dev-lang/go dev-vcs/git sys-apps/kmod sys-apps/systemd sys-devel/binutils \
		sys-devel/gcc sys-devel/patch sys-kernel/installkernel virtual/linux-sources virtual/pkgconfig; do standin $name; done
	for dir in "$repo/profiles" "$repo/profiles/least" "$local/profiles"; do echo 8 >"$root$dir/eapi"; done
	cat >"$root$repo/profiles/least/make.defaults" <<-END
		ARCH="$arch"
		CHOST="$machine-pc-linux-gnu"
		CFLAGS="-O2 -pipe"
		ELIBC="glibc"
		KERNEL="linux"
		USE_EXPAND="ELIBC KERNEL"
		USE_EXPAND_IMPLICIT="ARCH ELIBC KERNEL"
		USE_EXPAND_UNPREFIXED="ARCH"
		USE_EXPAND_VALUES_ARCH="$arch"
		USE_EXPAND_VALUES_ELIBC="glibc"
		USE_EXPAND_VALUES_KERNEL="linux"
		MODULES_SIGN_HASH="sha384"
	END
	ln -sfn "$repo/profiles/least" "$root/etc/portage/make.profile"
	printf '[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = %s\n[local]\nlocation = %s\n' $repo $local >"$root/etc/portage/repos.conf/here.conf"
}

# standin CATEGORY/NAME: a package that others can depend on, as those of eclasses
# do with [curl].
standin() {
	mkdir -p "$root$repo/$1"
	echo "${1%/*}" >>"$root$repo/profiles/categories"
	printf '%s\n' EAPI=8 'DESCRIPTION="A name"' 'LICENSE="MIT"' 'SLOT="0"' 'IUSE="curl"' \
		'KEYWORDS="amd64 arm64 riscv x86"' >"$root$repo/$1/${1#*/}-999.ebuild"
}

# settings are make.conf's. Go finds what it built the last time: its cache would
# be in the directory of the build. The sandbox is a program of its own.
settings() {
	cat >"$root/etc/portage/make.conf" <<-END
		ACCEPT_KEYWORDS="~$arch"
		ACCEPT_LICENSE="*"
		FEATURES="-sandbox -usersandbox -ipc-sandbox -mount-sandbox -network-sandbox -pid-sandbox -news"
		CLEAN_DELAY="0"
		EMERGE_WARNING_DELAY="0"
		MAKEOPTS="-j2"
	END
	echo 'sys-kernel/dkms **' >"$root/etc/portage/package.accept_keywords"
	# shellcheck disable=SC2016 # for Portage's bash
	echo '[[ -z ${GOCACHE+x} ]] || export GOCACHE=/var/cache/go' >"$root/etc/portage/bashrc"
	grep -q ^portage: "$root/etc/passwd" || {
		echo 'portage:x:250:' >>"$root/etc/group"
		echo 'portage:x:250:250::/var/tmp/portage:/bin/false' >>"$root/etc/passwd"
	}
	mkdir -p "$cache/go-build-portage" "$root/var/cache/go"
	mount --bind "$cache/go-build-portage" "$root/var/cache/go" || exit
	in_root chown -R portage:portage /var/cache/go /var/cache/distfiles /var/lib/portage
}

# use FLAGS...: those of our package.
use() { printf 'sys-kernel/hello dkms\nsys-kernel/dkms %s\n' "$*" >"$root/etc/portage/package.use"; }

# kernel RELEASE: a kernel whose sources are below /usr/src, as eclasses expect.
kernel() {
	sources=$root/usr/src/linux-$1
	rm -rf "$root/lib/modules/$1" "$root/usr/src/linux-headers-$1" "$sources"
	sh "$here/fakekernel/install.sh" "$root" "$1" && mv "$root/usr/src/linux-headers-$1" "$sources" || exit
	ln -sfn "/usr/src/linux-$1" "$root/lib/modules/$1/build"
	echo "$1" | sed -E 's/^([0-9]+)\.([0-9]+)\.([0-9]+)(.*)/VERSION = \1\nPATCHLEVEL = \2\nSUBLEVEL = \3\nEXTRAVERSION = \4\nmodules:\nmodules_prepare:/' >"$sources/first"
	sed -e 's/^include/-include/' -e '/^\.DEFAULT_GOAL/d' "$sources/Makefile" >>"$sources/first"
	mv "$sources/first" "$sources/Makefile"
	cp "$sources/include/config/auto.conf" "$sources/.config"
	printf '0x1\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n' >"$sources/Module.symvers"
}

# chosen RELEASE: the kernel that Portage builds modules for.
chosen() { ln -sfn "linux-$1" "$root/usr/src/linux"; }

# hello VERSION: a package whose module is built by dkms.
hello() {
	dir=$root$local/sys-kernel/hello
	mkdir -p "$dir"
	cat >"$dir/hello-$1.ebuild" <<-'END'
		EAPI=8
		inherit dkms
		DESCRIPTION="A module"
		HOMEPAGE="https://example.org"
		LICENSE="GPL-2"
		SLOT="0"
		KEYWORDS="~amd64 ~arm64"
		S="${WORKDIR}"
		src_unpack() {
			printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_VERSION("%s");\n' "${PV}" >hello.c || die
			echo 'obj-m := hello.o' >Kbuild || die
			printf 'modules:\n\t$(MAKE) -C $(KDIR) M=$(CURDIR) modules\n' >Makefile || die
		}
		src_compile() {
			local modlist=( hello=misc ) modargs=( KDIR="${KV_OUT_DIR}" )
			dkms_src_compile
		}
	END
}

portage() {
	in_root env -i HOME=/root LANG=C.UTF-8 NO_COLOR=1 NOCOLOR=true GOPROXY="$proxy" PATH="/opt/portage/bin:$goroot/bin:/usr/sbin:/usr/bin" \
		"$@" >"$log" 2>&1
	code=$?
	cat "$log" >>"$cache/gentoo.log"
	return $code
}

emerge() { portage emerge --oneshot --nodeps "$@"; }

# silent TEXT: the last command of Portage had nothing to say about quality.
silent() { if ! grep -Eiq 'QA Notice|QA Issue|pre-stripped|command not found' "$log"; then pass "$1"; else fail "$1"; fi; }

status() {
	text=$1 && shift
	in_root dkms status >"$log" 2>&1
	if [ "$(sort "$log")" = "$(printf '%s\n' "$@" | sort)" ]; then pass "$text"; else fail "$text (want $*)"; fi
}

ours_comes() {
	step "our package, of this checkout"
	use systemd
	in_root git config --system --add safe.directory /usr/src/dkms
	reject "there is no release without its archives" 1 portage ebuild $local/sys-kernel/dkms/dkms-9999.ebuild manifest
	said "they are named" 'dkms-.*-vendor\.tar\.xz'
	cp "$@" "$root/var/cache/distfiles"
	expect "Portage makes a manifest of those" portage ebuild $local/sys-kernel/dkms/dkms-9999.ebuild manifest
	[ -z "${GENTOO_PKGCHECK-}" ] || pkgchecked
	expect "the live ebuild builds and merges" emerge =sys-kernel/dkms-9999
	silent "Portage finds no fault"
	said "the service of systemd is there" 'systemd/system/dkms\.service$'
	gone "that of OpenRC is not" /etc/init.d/dkms
	looks_right
	expect "no module is registered" sh -c "[ -z \"\$(chroot '$root' dkms status)\" ]"

	step "our package, of a release"
	use -systemd
	echo 'gc_keep="2"' >>"$root/etc/dkms/framework.conf"
	expect "the ebuild builds and takes the place of the other" emerge '=sys-kernel/dkms-3*'
	silent "Portage finds no fault"
	for path in /etc/init.d/dkms /etc/conf.d/dkms; do expect "$path is there" [ -e "$root$path" ]; done
	gone "the service of systemd has gone" /usr/lib/systemd/system/dkms.service /lib/systemd/system/dkms.service
	expect "the administrator's settings stay" grep -q gc_keep "$root/etc/dkms/framework.conf"
	looks_right
}

pkgchecked() {
	expect "pkgcheck runs" portage "$GENTOO_PKGCHECK" scan --config no -r local sys-kernel/dkms
	quiet "and has nothing to say"
}

looks_right() {
	for program in sbin/dkms lib/dkms/dkms-hook; do
		readelf -hS "$root/usr/$program" >"$log"
		said "$program moves in memory" 'Type: +DYN'
		if grep -q '\.symtab' "$log"; then fail "$program has no symbols"; else pass "$program has no symbols"; fi
	done
	expect "it runs" in_root dkms --version
	for file in "man/man8/dkms.8" "man/man5/dkms.conf.5" "doc/dkms-*/README.md" "doc/dkms-*/licenses.txt"; do
		expect "$file is there, compressed" sh -c "ls '$root/usr/share/'$file.bz2"
	done
	expect "examples can be run" [ -x "$(echo "$root"/usr/share/doc/dkms-*/examples/90-dkms-motd)" ]
	for dir in preinst install; do expect "the plugin in $dir.d is there" [ -x "$root/usr/lib/kernel/$dir.d/40-dkms.install" ]; done
}

a_module() {
	step "a package of dkms.eclass"
	expect "it comes" emerge =sys-kernel/hello-1.0
	status "its module is installed for the chosen kernel" "hello/1.0, 6.9.1-gentoo, $machine: installed"
	expect "it comes once more" emerge =sys-kernel/hello-1.0
	status "and is as before" "hello/1.0, 6.9.1-gentoo, $machine: installed"
	chosen 6.9.2-gentoo
	expect "it is upgraded, with another kernel chosen" emerge =sys-kernel/hello-2.0
	status "the new one is installed for that" "hello/2.0, 6.9.2-gentoo, $machine: installed"
	gone "nothing is left of the old one" /var/lib/dkms/hello/1.0 /usr/src/hello-1.0/dkms.conf /lib/modules/6.9.1-gentoo/extra
	expect "it is configured" portage emerge --config sys-kernel/hello
	status "for the running kernel, too" "hello/2.0, 6.9.2-gentoo, $machine: installed" "hello/2.0, $running, $machine: installed"

	step "a kernel"
	rm -rf "$root"/etc/kernel/*.d
	printf 'layout=compat\ninitrd_generator=none\nuki_generator=none\n' >"$root/etc/kernel/install.conf"
	expect "installkernel installs one" portage sh /opt/installkernel/installkernel --no-systemd 6.9.1-gentoo \
		/usr/src/linux-6.9.1-gentoo/Makefile /usr/src/linux-6.9.1-gentoo/Module.symvers /boot
	said "dkms is called" 'hello/2\.0.*6\.9\.1-gentoo'
	expect "the module is installed for it" [ "$(modinfo -F version "$root/lib/modules/6.9.1-gentoo/extra/misc/hello.ko")" = 2.0 ]

	binary_kernel

	step "Portage's settings of signatures"
	mkdir "$root/etc/keys"
	openssl req -new -x509 -nodes -days 10 -newkey rsa:2048 -subj /CN=makeconf -keyout "$root/etc/keys/key.pem" -out "$root/etc/keys/cert.pem" 2>"$log"
	cat >>"$root/etc/portage/make.conf" <<-'END'
		KEYS=/etc/keys
		MODULES_SIGN_KEY="${KEYS}/key.pem"
		MODULES_SIGN_CERT="$KEYS/cert.pem"
	END
	echo 'try_sign_modules="true"' >>"$root/etc/dkms/framework.conf"
	expect "dkms builds with portageq there" portage dkms build --force hello/2.0 -k 6.9.1-gentoo --verbose
	said "the key is what Portage says" 'signing with /etc/keys/key\.pem \(Portage\)'
	modinfo "$root/var/lib/dkms/hello/2.0/6.9.1-gentoo/$machine/module/hello.ko" >"$log" 2>&1
	said "it signs" '^signer: +makeconf'
	said "with the digest of the profile" '^sig_hashalgo: +sha384'
	rm "$root/usr/bin/portageq"
	expect "and without portageq" in_root dkms build --force hello/2.0 -k 6.9.2-gentoo --verbose
	said "the key is what make.conf says" 'signing with /etc/keys/key\.pem \(/etc/portage/make\.conf\)'

	step "remove"
	expect "the package goes" portage emerge --unmerge sys-kernel/hello
	status "nothing is registered" ""
	gone "nothing is left" /var/lib/dkms/hello /usr/src/hello-2.0/dkms.conf /lib/modules/6.9.1-gentoo/extra /lib/modules/6.9.2-gentoo/extra "/lib/modules/$running/extra"
	expect "our package goes" portage emerge --unmerge sys-kernel/dkms
	gone "with its files" /usr/sbin/dkms /usr/lib/dkms /usr/lib/kernel/preinst.d/40-dkms.install /etc/init.d/dkms /usr/share/man/man8/dkms.8.bz2
	expect "but for changed settings" [ -e "$root/etc/dkms/framework.conf" ]
}

# binary RELEASE: the file of a binary kernel of Gentoo, and an ebuild for it.
binary() {
	name=gentoo-kernel-${1%-gentoo}-1 image=$root/tmp/image
	rm -rf "$image" && mkdir -p "$image/usr/src" "$image/lib/modules/$1" "$root/tmp/$name"
	cp -R "$root/usr/src/linux-6.9.1-gentoo" "$image/usr/src/linux-$1"
	echo "$1" >"$image/usr/src/linux-$1/include/config/kernel.release"
	[ "${2-}" != broken ] || rm "$image/usr/src/linux-$1/include/linux/module.h"
	ln -s "../../../usr/src/linux-$1" "$image/lib/modules/$1/build"
	: >"$root/tmp/$name/gpkg-1"
	tar -C "$root/tmp" -c image | xz >"$root/tmp/$name/image.tar.xz"
	tar -C "$root/tmp" -cf "$root/var/cache/distfiles/$name.$arch.gpkg.tar" "$name/gpkg-1" "$name/image.tar.xz"
	dir=$root$local/sys-kernel/gentoo-kernel-bin
	mkdir -p "$dir"
	cat >"$dir/gentoo-kernel-bin-${1%-gentoo}.ebuild" <<-END
		EAPI=8
		DESCRIPTION="A binary kernel"
		HOMEPAGE="https://example.org"
		SRC_URI="https://example.org/$name.$arch.gpkg.tar"
		LICENSE="GPL-2"
		SLOT="\${PV}"
		KEYWORDS="~amd64 ~arm64"
		RESTRICT="mirror"
		S="\${WORKDIR}"
		src_unpack() { :; }
		src_install() { insinto /usr/share/kernel; newins - "\${PV}" <<<"\${PV}"; }
	END
	expect "there is a binary kernel $1" portage ebuild "$local/sys-kernel/gentoo-kernel-bin/gentoo-kernel-bin-${1%-gentoo}.ebuild" manifest
}

binary_kernel() {
	step "a binary kernel, by dkms-emerge"
	binary 6.9.7-gentoo broken
	binary 6.9.8-gentoo
	echo 'upgrade_guard="refuse"' >"$root/etc/dkms/framework.conf.d/guard.conf"
	reject "one that breaks a module is refused" 11 portage dkms-emerge --oneshot --nodeps =sys-kernel/gentoo-kernel-bin-6.9.7
	said "the module is named" '1 of 1 modules will not build for 6\.9\.7-gentoo'
	gone "nothing was installed" /usr/share/kernel
	expect "one that does not is installed" portage dkms-emerge --oneshot --nodeps =sys-kernel/gentoo-kernel-bin-6.9.8
	said "that is said" 'every module builds for 6\.9\.8-gentoo'
	expect "it is there" [ -e "$root/usr/share/kernel/6.9.8" ]
	rm "$root/etc/dkms/framework.conf.d/guard.conf"
	expect "with upgrade_guard=warn the other is, too" portage dkms-emerge --oneshot --nodeps =sys-kernel/gentoo-kernel-bin-6.9.7
	said "the module is named all the same" '1 of 1 modules will not build for 6\.9\.7-gentoo'
	expect "it is there" [ -e "$root/usr/share/kernel/6.9.7" ]
	expect "what is no kernel is emerge's" portage dkms-emerge --oneshot --nodeps =sys-kernel/hello-2.0
	quiet_of_guard
}

quiet_of_guard() { if grep -q rehears "$log"; then fail "nothing is rehearsed"; else pass "nothing is rehearsed"; fi; }

: >"$cache/gentoo.log"
prepare
ours_comes "$@"
a_module
conclude "all that Portage said is in $cache/gentoo.log"
