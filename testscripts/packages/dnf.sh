#!/bin/sh
# dnf.sh DKMS HOOK: what dnf 5 says before it installs the headers of a kernel, with
# dnf and its plugin "actions" as Debian sid has them, and packages from a
# repository on a web server. Prints PASS or FAIL for every expectation; the
# status is 0 if all were met.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_SUITE=sid
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -x "${2-}" ] || { echo "usage: dnf.sh DKMS HOOK (made by make)" >&2 && exit 2; }
alone "$@"

make_base base ca-certificates kmod zstd
make_root dnf
in_root apt-get install -qy dnf5 rpm createrepo-c python3-minimal gcc libc6-dev make patch binutils xz-utils libarchive-tools \
	>"$log" 2>&1 || { cat "$log" && exit 2; }
install -D -m 755 "$1" "$root/usr/sbin/dkms"
install -D -m 755 "$2" "$root/usr/lib/dkms/dkms-hook"
install -D -m 644 "$here/../dist/dnf/dkms.actions" "$root/etc/dnf/libdnf5-plugins/actions.d/dkms.actions"
cp -r "$here/fakekernel" "$root/fakekernel"
rm "$root/etc/os-release"
printf 'ID=fedora\nVERSION_ID=42\n' >"$root/etc/os-release"

# A kernel, and a module that builds for it and not for the next one.
in_root sh /fakekernel/install.sh / 6.9.1-1.fc42.x86_64 >"$log" 2>&1 || { cat "$log" && exit 2; }
mkdir -p "$root/usr/src/picky-1.0"
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' >"$root/usr/src/picky-1.0/picky.c"
echo 'obj-m := picky.o' >"$root/usr/src/picky-1.0/Makefile"
cat >"$root/usr/src/picky-1.0/dkms.conf" <<'END'
PACKAGE_NAME=picky
PACKAGE_VERSION=1.0
BUILT_MODULE_NAME[0]=picky
DEST_MODULE_LOCATION[0]=/extra
AUTOINSTALL=yes
MAKE[0]="case $kernelver in 6.9.4-*) echo error: no such function; false;; *) make -C $kernel_source_dir M=$dkms_tree/picky/1.0/build;; esac"
END
expect "a module" in_root dkms install picky/1.0 -k 6.9.1-1.fc42.x86_64

# The next kernel's headers, in a repository.
in_root sh /fakekernel/install.sh /next 6.9.4-1.fc42.x86_64 >"$log" 2>&1 || { cat "$log" && exit 2; }
cat >"$root/tmp/kernel-devel.spec" <<'END'
Name: kernel-devel
Version: 6.9.4
Release: 1.fc42
Summary: x
License: GPL
%description
x
%install
mkdir -p %{buildroot}/usr/src/kernels
cp -R /next/usr/src/linux-headers-6.9.4-1.fc42.x86_64 %{buildroot}/usr/src/kernels/6.9.4-1.fc42.x86_64
%files
/usr/src/kernels
END
in_root rpmbuild -bb --define "_rpmdir /srv" --define "_build_id_links none" /tmp/kernel-devel.spec >"$log" 2>&1 || { cat "$log" && exit 2; }
in_root createrepo_c -q /srv >"$log" 2>&1 || { cat "$log" && exit 2; }
mkdir -p "$root/etc/yum.repos.d"
printf '[test]\nname=test\nbaseurl=http://127.0.0.1:18080/\ngpgcheck=0\nenabled=1\n' >"$root/etc/yum.repos.d/test.repo"
in_root python3 -m http.server --bind 127.0.0.1 --directory /srv 18080 >/dev/null 2>&1 &
server=$!
trap 'kill $server' EXIT
expect "the repository is there" timeout 30 sh -c 'until curl -fsS http://127.0.0.1:18080/repodata/repomd.xml >/dev/null; do :; done'

dnf() { in_root dnf5 -y --releasever=42 "$@"; }
mkdir -p "$root/etc/dkms/framework.conf.d"
echo upgrade_guard=refuse >"$root/etc/dkms/framework.conf.d/guard.conf"
reject "dnf stops where that is wanted" 1 dnf install kernel-devel
said "with the reason" "picky/1.0: make failed.*: error: no such function"
said "in one block" "1 of 1 modules? will not build for 6.9.4-1.fc42.x86_64"
said "and what to do" "upgrade_guard=warn in framework.conf goes on all the same"
reject "nothing is installed" 1 in_root rpm -q kernel-devel
rm "$root/etc/dkms/framework.conf.d/guard.conf"
expect "otherwise it goes on" dnf install kernel-devel
said "after a warning" "1 of 1 modules? will not build for 6.9.4-1.fc42.x86_64"
expect "the package is installed" in_root rpm -q kernel-devel
expect "it is removed" dnf remove kernel-devel
sed -i 's/^MAKE.*//' "$root/usr/src/picky-1.0/dkms.conf"
expect "headers that every module builds for" dnf install kernel-devel
said "are called so" "every module builds for 6.9.4-1.fc42.x86_64"
expect "they are removed" dnf remove kernel-devel
file=$(cd "$root" && echo srv/*/kernel-devel-*.rpm)
expect "headers from a file" dnf install "/$file"
said "are looked at, too" "every module builds for 6.9.4-1.fc42.x86_64"
conclude "dnf $(in_root dnf5 --version | head -n 1)"
