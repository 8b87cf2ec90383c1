# lib.sh: what the scripts that try packages share: roots, and expectations that
# print PASS or FAIL. They source it, with $here set to testscripts.
# shellcheck shell=sh disable=SC2034,SC2154 # set and read by those scripts
set -u
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
# The make that starts the script sets these. Debian's dkms hands them on, ours
# does not, and a module can depend on them: its srcversion covers what a probe of
# its package has written down of make's errors, with their level.
unset MAKELEVEL MAKEFLAGS MFLAGS
cache=${PACKAGES_CACHE:-/var/tmp/dkms-packages}
mirror=${PACKAGES_MIRROR-}
suite=${PACKAGES_SUITE:-bookworm}
log=$cache/log-$suite-${0##*/}
passed=0 failed=0

# alone ARGUMENTS...: starts the script again, with nobody else at its
# roots, and with mounts and processes that end with it. What has come that far
# has PACKAGES_INSIDE set.
alone() {
	[ -z "${PACKAGES_INSIDE-}" ] || return 0
	for program in debootstrap unshare flock; do
		command -v $program >/dev/null || { echo "$0: $program is not installed" >&2 && exit 2; }
	done
	[ "$(id -u)" = 0 ] || { echo "$0: a chroot needs root" >&2 && exit 2; }
	mkdir -p "$cache"
	PACKAGES_INSIDE=1 exec flock "$cache/lock-$suite-${0##*/}" unshare --mount --pid --fork sh "$0" "$@"
}

# make_base NAME PACKAGE...: a Debian of $suite with these, kept as $base.
make_base() {
	base=$cache/$1-$suite && shift
	(
		flock 9
		[ ! -d "$base" ] || exit 0
		echo "making $base, see $base.log" >&2
		rm -rf "$base.partial"
		debootstrap --variant=minbase --include="$(echo "$*" | tr ' ' ,)" "$suite" "$base.partial" ${mirror:+"$mirror"} \
			>"$base.log" 2>&1 && mv "$base.partial" "$base"
	) 9>"$base.lock" || exit
}

# make_root NAME: a copy of $base as $root, in which apt fetches nothing twice,
# and a mirror may be one of the past.
make_root() {
	root=$cache/$1-$suite
	rm -rf "$root"
	cp -a --reflink=auto "$base" "$root" || exit
	mount_root
	mkdir -p "$cache/archives-$suite-$1/partial" "$root/packages"
	mount --bind "$cache/archives-$suite-$1" "$root/var/cache/apt/archives" || exit
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	ln -sf ../proc/self/mounts "$root/etc/mtab" # pacman's
	echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
	cat >"$root/etc/apt/apt.conf.d/test" <<-END
		APT::Install-Recommends "false";
		APT::Keep-Downloaded-Packages "true";
		Acquire::Check-Valid-Until "false";
		Dpkg::Use-Pty "false";
		Dpkg::Options { "--force-confdef"; "--force-confold"; };
		$(apt-config dump Acquire::http::Proxy 2>/dev/null)
	END
	in_root apt-get update -q >"$log" 2>&1 || { cat "$log" >&2 && exit 2; }
}

# overlay_root NAME: this machine once more as $root, without a dkms; what is
# written there is in memory.
overlay_root() {
	temp=$cache/$1
	mkdir -p "$temp" && mount -t tmpfs "$1" "$temp" && mkdir "$temp/upper" "$temp/work" "$temp/root" "$temp/bin" || exit
	root=$temp/root
	mount -t overlay overlay -o "lowerdir=/,upperdir=$temp/upper,workdir=$temp/work" "$root" || exit
	for dir in proc dev; do mount --rbind "/$dir" "$root/$dir" || exit; done
	mount -t tmpfs tmp "$root/tmp" || exit
	rm -rf "$root/var/lib/dkms" "$root/etc/dkms" "$root"/usr/src/hello-*
}

# all_busybox [TOOL...]: the small tools of $root are busybox's, as on Alpine, but
# for these, kmod's and those that the test needs; $count says how many.
all_busybox() {
	cp "$(command -v busybox)" "$root/usr/bin/busybox"
	count=0
	for applet in $(busybox --list); do
		case " busybox depmod insmod lsmod modinfo modprobe rmmod ar unshare chroot $* " in *" $applet "*) continue ;; esac
		for file in "$root/usr/bin/$applet" "$root/usr/sbin/$applet"; do
			if [ -e "$file" ] || [ -L "$file" ]; then ln -sf /usr/bin/busybox "$file" && count=$((count + 1)); fi
		done
	done
}

# lay FROM TO [PATH]: a directory, or what a git directory has committed.
lay() {
	mkdir -p "$2"
	if [ -d "$1/objects" ]; then git --git-dir="$1" archive HEAD ${3:+"$3"} | tar -x -C "$2"; else cp -R "$1/${3-.}" "$2"; fi || exit
}

# module_sources DIR NAME [CONF] [CODE]: the sources of a module, with these lines
# in its dkms.conf and its program.
module_sources() {
	mkdir -p "$1"
	cat >"$1/dkms.conf" <<-END
		PACKAGE_NAME=$2
		PACKAGE_VERSION=1.0
		BUILT_MODULE_NAME[0]=$2
		DEST_MODULE_LOCATION[0]=/updates
		AUTOINSTALL=yes
		${3-}
	END
	echo "obj-m := $2.o" >"$1/Makefile"
	printf '#include <linux/module.h>\n%s\nMODULE_LICENSE("GPL");\n' "${4-}" >"$1/$2.c"
}

# mount_root makes $root one that rpm and dkms can have mounts of their own in.
mount_root() {
	mount --bind "$root" "$root" && mount --make-private "$root" && mount -t proc proc "$root/proc" || exit
}

in_root() { chroot "$root" "$@" </dev/null; }

step() { printf '\n== %s\n' "$*"; }

pass() { passed=$((passed + 1)) && echo "PASS $*"; }

fail() {
	failed=$((failed + 1))
	echo "FAIL $*"
	tail -n 40 "$log" | sed 's/^/     | /'
}

# expect TEXT COMMAND...: the command succeeds.
expect() {
	text=$1 && shift
	if "$@" >"$log" 2>&1; then pass "$text"; else
		code=$?
		fail "$text (status $code: $*)"
	fi
}

# reject TEXT STATUS COMMAND...: the command fails, with that status.
reject() {
	text=$1 want=$2 && shift 2
	"$@" >"$log" 2>&1
	code=$?
	if [ "$code" = "$want" ]; then pass "$text"; else fail "$text (status $code, want $want: $*)"; fi
}

# said TEXT PATTERN: the last command printed a line like that.
said() { if grep -Eq -- "$2" "$log"; then pass "$1"; else fail "$1 (no line matches $2)"; fi; }

# unsaid TEXT PATTERN: the last command printed no such line.
unsaid() { if grep -Eq -- "$2" "$log"; then fail "$1 (a line matches $2)"; else pass "$1"; fi; }

# quiet TEXT: the last command printed nothing.
quiet() { if [ -s "$log" ]; then fail "$1"; else pass "$1"; fi; }

gone() {
	text=$1 && shift
	: >"$log"
	for path; do
		! [ -e "$root$path" ] && ! [ -L "$root$path" ] || echo "$path is still there" >>"$log"
	done
	if [ -s "$log" ]; then fail "$text"; else pass "$text"; fi
}

# conclude prints the sum; the status is 0 if everything was as expected.
conclude() {
	printf '\n%s passed, %s failed%s\n' "$passed" "$failed" "${1:+; $1}"
	[ "$failed" = 0 ]
}
