#!/bin/sh
# apt.sh DKMS DKMS-HOOK: before a real apt installs the headers of a kernel, the
# hook says which module will not build for it, and stops apt where it is to. In a
# chroot of Debian ${PACKAGES_SUITE:-trixie} one module builds and one does not.
# Prints PASS or FAIL for every expectation; the status is 0 if all were met.
: "${PACKAGES_SUITE:=trixie}"
here=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -x "${2-}" ] || { echo "usage: apt.sh DKMS DKMS-HOOK" >&2 && exit 2; }
alone "$@"

# module NAME LINE: sources of a module that has this line.
module() {
	module_sources "$root/usr/src/$1-1.0" "$1" '' "$2"
	in_root dkms add "$1/1.0" >"$log" 2>&1 || { cat "$log" && exit 2; }
}

# untouched TEXT: no headers have been installed.
untouched() {
	if [ -z "$(find "$root/usr/src" -maxdepth 1 -name 'linux-headers-*')" ] && ! in_root dpkg -l 'linux-headers-*' 2>/dev/null | grep -q ^ii; then
		pass "$1"
	else fail "$1"; fi
}

make_base base ca-certificates kmod zstd
make_root apt
in_root apt-get install -qy gcc make xz-utils openssl >"$log" 2>&1 || { cat "$log" && exit 2; }
# What the compiler of the kernel is, the headers say by what they depend on.
# shellcheck disable=SC2016 # the root's shell expands it
in_root sh -c 'apt-get install -qy $(apt-cache depends linux-headers-amd64 | sed -n "s/ *Depends: \(linux-headers-[0-9].*-amd64\)/\1/p" |
	xargs apt-cache depends | sed -n "s/ *Depends: \(gcc-[0-9]*\(-x86-64-linux-gnu\)\?\)$/\1/p; s/ *Depends: \(pahole\|dwarves\)$/\1/p") pahole' >"$log" 2>&1
install -m 755 "$1" "$root/usr/sbin/dkms"
install -D -m 755 "$2" "$root/usr/lib/dkms/dkms-hook"
install -m 644 "$here/../dist/apt/70dkms" "$root/etc/apt/apt.conf.d/70dkms"
module good 'int good;'
module broken '#error no longer'
mkdir -p "$root/etc/dkms"

step "refuse"
echo upgrade_guard=refuse >"$root/etc/dkms/framework.conf"
reject "apt is stopped" 100 in_root apt-get install -qy linux-headers-amd64
said "what will not build is said" "dkms: warning: 1 of 2 modules will not build for [0-9].*-amd64:"
said "with the reason" "broken/1.0: make failed.*error: #error no longer"
said "and what stops apt" "dkms: nothing is installed: upgrade_guard=refuse"
untouched "nothing was changed"
step "warn"
echo upgrade_guard=warn >"$root/etc/dkms/framework.conf"
expect "apt goes on" in_root apt-get install -qy --no-install-recommends linux-headers-amd64
said "what will not build is said" "dkms: warning: 1 of 2 modules will not build for [0-9].*-amd64:"
first=$(grep -n -m 1 -e 'will not build' "$log" | cut -d: -f1) unpacking=$(grep -n -m 1 '^Unpacking ' "$log" | cut -d: -f1)
if [ "${first:-0}" -gt 0 ] && [ "$first" -lt "${unpacking:-0}" ]; then pass "before anything is unpacked"; else fail "before anything is unpacked"; fi
step "built once"
release=$(basename "$(dirname "$(echo "$root"/lib/modules/*-amd64/build)")")
built=$root/var/lib/dkms/good/1.0/$release/$(uname -m)/module
expect "what the guard has built is installed" in_root dkms install good/1.0 -k "$release"
said "without another build" "good/1.0: taking the build for "
unsaid "and nothing is compiled" "good/1.0: building"
cp -r "$built" "$root/tmp/taken"
expect "a build of now" in_root dkms build --force good/1.0 -k "$release"
said "compiles" "good/1.0: building"
expect "and is the same, byte for byte" diff -r "$root/tmp/taken" "$built"
step "without dkms"
in_root apt-get purge -qy 'linux-headers-*' >"$log" 2>&1
rm "$root/usr/lib/dkms/dkms-hook"
expect "the hook that a removed package has left stops nothing" in_root apt-get install -qy linux-headers-amd64
conclude "Debian $suite"
