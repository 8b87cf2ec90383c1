#!/bin/sh
# alpine.sh SOURCES VENDOR: our dkms as a package of Alpine: this machine once
# more, in memory, with busybox's tools where Alpine has them. abuild builds the
# package from the archives that "make source" makes; apk installs it in a root
# of its own, sees to it, and removes it. ALPINE_ABUILD says where abuild is, a
# directory as in its repository or a git directory; apk is of apk-tools 3, built
# from its sources for this machine. What the package depends on, and what builds
# it, are names: there is no musl here. Prints PASS or FAIL for every expectation;
# the status is 0 if all were met, and 77 where something is missing.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_CACHE=${PACKAGES_CACHE:-/var/tmp/dkms-packages} PACKAGES_SUITE=host
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -f "${2-}" ] || { echo "usage: alpine.sh SOURCES VENDOR (made by make source)" >&2 && exit 2; }
missing=''
[ -n "${ALPINE_ABUILD-}" ] || missing=' ALPINE_ABUILD'
for program in apk busybox fakeroot scanelf getcap bc pkg-config git; do command -v $program >/dev/null || missing="$missing $program"; done
if [ -n "$missing" ]; then
	echo "alpine.sh: not set or not installed:$missing" >&2
	[ -n "${CI-}" ] || exit 77
	exit 1
fi
alone "$@"
goroot=$("${GO:-go}" env GOROOT)
machine=$(apk --print-arch)
recipe=/home/builder/aports/testing/dkms packages=/home/builder/packages/testing

prepare() {
	overlay_root alpine
	lay "$ALPINE_ABUILD" "$root/usr/src/abuild"
	in_root make -s -C /usr/src/abuild CFLAGS=-O1 MAN_PAGES= MAN_1_PAGES= MAN_5_PAGES= install >"$log" 2>&1
	[ -x "$root/usr/bin/abuild" ] || { cat "$log" && exit 2; }
	cp "$(command -v apk)" "$root/usr/bin/apk"
	in_root useradd --create-home builder
	mkdir -p "$root$recipe" "$root/there" "$cache/go-build-alpine" "$root/var/cache/go"
	mount --bind "$cache/go-build-alpine" "$root/var/cache/go" || exit
	cp "$here"/../dist/alpine/* "$@" "$root$recipe"
	in_root chown -R builder: /home/builder /var/cache/go
	# What abuild and the recipe ask for is not busybox's. Nor is the shell, since
	# Debian's ash takes its own tools for those that are installed, nor awk, which
	# has no mathematics there.
	# shellcheck disable=SC2046 # names
	all_busybox sh awk patch $(dpkg -L coreutils findutils tar | sed -n 's|.*/s*bin/||p')
	for name in ash sh; do ln -sf bash "$root/usr/bin/$name"; done
	as_builder abuild-keygen -a -n || { cat "$log" && exit 2; }
	mkdir -p "$root/etc/apk/keys" && cp "$root"/home/builder/.abuild/*.pub "$root/etc/apk/keys"
	for name in build-base go=1.26.8 bash binutils coreutils findutils gcc kernel-hooks kmod make musl-dev patch openrc; do standin $name; done
	initialize / || { cat "$log" && exit 2; }
	mkdir -p "$temp/busybox/bin"
	cp "$(command -v busybox)" "$temp/busybox/bin" && ln -s busybox "$temp/busybox/bin/sh"
	standin busybox "$temp/busybox" /bin/sh
}

# initialize DIR: a system of apk's with all stand-ins.
initialize() { in_root sh -c "apk --root $1 --arch $machine --initdb --allow-untrusted --no-network add /packages/*.apk" >"$log" 2>&1; }

# standin NAME[=VERSION] [FILES PROVIDES]: a package that others can depend on.
standin() {
	mkdir -p "$root/packages" "$temp/empty"
	case $1 in *=*) version=${1#*=} ;; *) version=1 ;; esac
	apk mkpkg -F "${2:-$temp/empty}" -o "$root/packages/${1%=*}.apk" -I "name:${1%=*}" -I "version:$version-r0" -I "arch:$machine" \
		${3:+-I "provides:$3"} >"$log" 2>&1 || { cat "$log" && exit 2; }
}

# as_builder COMMAND: in the directory of the recipe.
as_builder() {
	# shellcheck disable=SC2016 # for the shell inside
	chroot --userspec=builder:builder "$root" env -i HOME=/home/builder LANG=C.UTF-8 GOCACHE=/var/cache/go GOPROXY=off \
		PACKAGER="Builder <builder@example.org>" ABUILD_USERDIR=/home/builder/.abuild REPODEST=/home/builder/packages SRCDEST=/home/builder \
		PATH="$goroot/bin:/usr/sbin:/usr/bin" sh -c 'cd "$1" && shift && exec "$@"' - "$recipe" "$@" </dev/null >"$log" 2>&1
	code=$?
	cat "$log" >>"$cache/alpine.log"
	return $code
}

# content TEXT: abuild has no more to say about quality than that Go wants the
# network, which the archive of what is linked makes unnecessary.
content() { if ! grep -E 'WARNING|ERROR' "$log" | grep -qv "Maybe add 'net' to options"; then pass "$1"; else fail "$1"; fi; }

abuilds() {
	step "abuild"
	reject "a recipe without sums is refused" 1 as_builder abuild validate
	said "that is why" 'is missing in checksums'
	expect "abuild writes them" as_builder abuild checksum
	expect "the recipe is valid" as_builder abuild validate
	content "abuild has nothing to say"
	expect "it builds the packages" as_builder abuild
	content "abuild has nothing to say"
	for part in dkms dkms-bash-completion dkms-doc dkms-fish-completion dkms-openrc dkms-zsh-completion; do
		expect "$part is there" ls "$root$packages/$machine/$part"-3.4.3.1-r0.apk
	done
}

there() { in_root apk --root /there --arch "$machine" --keys-dir /etc/apk/keys --no-network --repository "$packages" "$@"; }

# contents PACKAGE FILE...: these and no others are in it.
contents() {
	package=$1 && shift
	there info --contents "$package" >"$log" 2>&1
	for file; do said "$package has $file" "^$file\$"; done
}

apks() {
	step "apk"
	expect "what it depends on is there" initialize /there
	expect "apk installs it, with signatures that it verifies" there add dkms dkms-doc dkms-bash-completion dkms-zsh-completion dkms-fish-completion
	said "what to do for modules at boot is said" 'rc-update add dkms'
	expect "it runs" in_root chroot /there /usr/sbin/dkms --version
	contents dkms usr/sbin/dkms usr/lib/dkms/dkms-hook usr/lib/dkms/common.postinst etc/dkms/framework.conf usr/share/kernel-hooks.d/dkms.hook
	contents dkms-openrc etc/init.d/dkms etc/conf.d/dkms
	contents dkms-doc usr/share/man/man8/dkms.8.gz usr/share/licenses/dkms/LICENSE usr/share/licenses/dkms/licenses.txt
	expect "OpenRC's script comes by itself" [ -x "$root/there/etc/init.d/dkms" ]
	expect "directories that nothing is in are there" [ -d "$root/there/var/lib/dkms" ]
	there audit --system >"$log" 2>&1
	quiet "no file differs from the package's"
	echo '# a word of the administrator' >>"$root/there/etc/dkms/framework.conf"
	expect "it is installed anew" there fix --reinstall dkms
	expect "the administrator's word stays" grep -q administrator "$root/there/etc/dkms/framework.conf"
	mkdir -p "$root/there/var/lib/dkms/some/1.0"
	expect "it goes" there del dkms dkms-doc dkms-bash-completion dkms-zsh-completion dkms-fish-completion
	gone "with its files" /there/usr/sbin/dkms /there/usr/lib/dkms /there/etc/init.d/dkms /there/usr/share/kernel-hooks.d/dkms.hook \
		/there/usr/share/man/man8/dkms.8.gz
	expect "but for what is registered" [ -d "$root/there/var/lib/dkms/some/1.0" ]
}

: >"$cache/alpine.log"
prepare "$@"
abuilds
apks
conclude "all that abuild said is in $cache/alpine.log"
