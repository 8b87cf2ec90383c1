#!/bin/sh
# rpm.sh FEDORA.rpm SUSE.rpm: our dkms on machines with dnf and with zypper, as
# far as those of Debian trixie make one: a root whose packages come from a
# repository in a directory, with and without a merged /usr/sbin. It takes the
# place of a noarch dkms like the distribution's, lives through an upgrade of
# itself and of a module, and gives way to the other again. Then rpmlint judges
# it. Prints PASS or FAIL for every expectation; the status is 0 if all were
# met.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_SUITE=trixie
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -f "${2-}" ] || { echo "usage: rpm.sh FEDORA.rpm SUSE.rpm (made by make rpm)" >&2 && exit 2; }
alone "$@"

# The root has the tools and is the machine: rpm's database begins empty, so
# that what is required comes from the repository.
prepare() {
	make_base base ca-certificates kmod zstd
	make_root rpm
	in_root apt-get install -qy rpm rpmlint dnf zypper createrepo-c gcc libc6-dev make patch binutils xz-utils \
		>"$log" 2>&1 || { cat "$log" && exit 2; }
	for kind in fedora suse; do mkdir -p "$root/repo/$kind"; done
	cp "$1" "$root/repo/fedora" && cp "$2" "$root/repo/suse" && cp -r "$here/fakekernel" "$root/fakekernel"
	ours=$(rpm_of "$root/repo/fedora"/dkms-*.x86_64.rpm '%{version}-%{release}')
	pristine=$root.pristine
}

rpm_of() { in_root rpm -qp --qf "$2" "${1#"$root"}"; }

# spec NAME VERSION ARCH [LINE...] reads a body of sections, and builds that
# package into the repositories.
spec() {
	name=$1 version=$2 arch=$3 && shift 3
	{
		printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: x\nLicense: GPL\nBuildArch: %s\n' "$name" "$version" "$arch"
		for line; do echo "$line"; done
		printf '%%description\nx\n'
		cat
	} >"$root/tmp/$name.spec"
	in_root rpmbuild -bb --define "_rpmdir /tmp/rpms" --define "_build_id_links none" "/tmp/$name.spec" >"$log" 2>&1 ||
		{ cat "$log" && exit 2; }
	for kind in fedora suse; do cp "$root"/tmp/rpms/*/"$name-$version-1".*.rpm "$root/repo/$kind"; done
}

# make_repositories: what a machine has that is no part of this, a dkms like the
# distribution's, and a module as it is packaged for it.
make_repositories() {
	for name in bash binutils coreutils findutils gcc gzip kmod make patch tar xz kernel-core kernel-syms \
		kernel-devel-matched elfutils-libelf-devel libelf-devel systemd; do
		echo %files | spec $name 99 noarch
	done
	spec dkms 3.4.3 noarch "Requires: kmod" <<-'END'
		%install
		mkdir -p %{buildroot}/usr/sbin %{buildroot}/usr/lib/dkms %{buildroot}/etc/dkms %{buildroot}/var/lib/dkms
		printf '#!/bin/sh\necho the original\n' >%{buildroot}/usr/sbin/dkms
		echo '#!/bin/sh' >%{buildroot}/usr/lib/dkms/common.postinst
		echo '# of the original' >%{buildroot}/etc/dkms/framework.conf
		%files
		%attr(755,root,root) /usr/sbin/dkms
		/usr/lib/dkms
		/var/lib/dkms
		%dir /etc/dkms
		%config(noreplace) /etc/dkms/framework.conf
	END
	for v in 1.0 2.0; do
		spec dkms-hello $v noarch "Requires: dkms" <<-END
			%install
			dir=%{buildroot}/usr/src/hello-$v
			mkdir -p \$dir
			printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\nMODULE_VERSION("$v");\n' >\$dir/hello.c
			echo 'obj-m := hello.o' >\$dir/Makefile
			printf 'PACKAGE_NAME=hello\nPACKAGE_VERSION=$v\nBUILT_MODULE_NAME[0]=hello\nDEST_MODULE_LOCATION[0]=/extra\nAUTOINSTALL=yes\n' >\$dir/dkms.conf
			%post
			dkms add -m hello -v $v -q --rpm_safe_upgrade || :
			dkms build -m hello -v $v -k 6.9.1-1.fc42 -q || :
			dkms install -m hello -v $v -k 6.9.1-1.fc42 -q --force || :
			%preun
			dkms remove -m hello -v $v --all -q --rpm_safe_upgrade || :
			%files
			/usr/src/hello-$v
		END
	done
	for kind in fedora suse; do in_root createrepo_c -q "/repo/$kind" >"$log" 2>&1 || { cat "$log" && exit 2; }; done
	mkdir -p "$root/etc/yum.repos.d" "$root/etc/zypp/repos.d"
	printf '[test]\nname=test\nbaseurl=file:///repo/fedora\ngpgcheck=0\nenabled=1\n' >"$root/etc/yum.repos.d/test.repo"
	printf '[test]\nname=test\nbaseurl=dir:///repo/suse\ngpgcheck=0\nenabled=1\ntype=rpm-md\n' >"$root/etc/zypp/repos.d/test.repo"
}

# machine FAMILY MERGED: a fresh root with that os-release and a kernel; MERGED
# is yes where /usr/sbin is a link to /usr/bin.
machine() {
	umount "$root/proc" 2>/dev/null
	umount "$root/var/cache/apt/archives" 2>/dev/null
	[ -d "$pristine" ] || mv "$root" "$pristine"
	rm -rf "$root"
	cp -a --reflink=auto "$pristine" "$root" && mount -t proc proc "$root/proc" || exit
	rm "$root/etc/os-release"
	printf 'ID=%s\nVERSION_ID=42\n' "$1" >"$root/etc/os-release"
	if [ "$2" = yes ]; then
		cp -a --no-clobber "$root"/usr/sbin/* "$root/usr/bin" && rm -r "$root/usr/sbin" && ln -s bin "$root/usr/sbin"
	fi
	in_root sh /fakekernel/install.sh / 6.9.1-1.fc42 >"$log" 2>&1 || { cat "$log" && exit 2; }
}

status() {
	in_root dkms status >"$log" 2>&1
	if [ "$(cat "$log")" = "$2" ]; then pass "$1"; else fail "$1 (want $2)"; fi
}

# story FAMILY INSTALL UPGRADE REMOVE BACK: five command lines.
story() {
	hello="6.9.1-1.fc42, x86_64: installed"
	expect "a kernel is installed" in_root sh -c "$2 kernel-core"
	expect "the distribution's dkms is installed" in_root sh -c "$2 dkms-3.4.3-1.noarch"
	echo '# a word of the administrator' >>"$root/etc/dkms/framework.conf"
	expect "ours takes its place" in_root sh -c "$2 /repo/$1/dkms-$ours.x86_64.rpm"
	expect "with nothing of it left" [ "$(in_root rpm -q dkms)" = "dkms-$ours.x86_64" ]
	expect "it runs" [ "$(in_root dkms --version)" = dkms-3.4.3 ]
	expect "no file of it is missing or changed" sh -c "! chroot '$root' rpm -V dkms | grep -v '^.M.* c \|framework.conf'"
	expect "the administrator's word stays" grep -q administrator "$root/etc/dkms/framework.conf"
	expect "what it requires is there" in_root rpm -q gcc make patch "$6"
	expect "a package with a module is installed" in_root sh -c "$2 dkms-hello-1.0"
	status "the module is, too" "hello/1.0, $hello"
	expect "it is upgraded" in_root sh -c "$3 dkms-hello"
	status "so is the module" "hello/2.0, $hello"
	expect "ours is installed anew" in_root rpm -U --force-debian --replacepkgs "/repo/$1/dkms-$ours.x86_64.rpm"
	status "and knows it" "hello/2.0, $hello"
	expect "the distribution's dkms comes back" in_root sh -c "$5"
	expect "in its place" [ "$(in_root rpm -q dkms)" = dkms-3.4.3-1.noarch ]
	expect "and runs" [ "$(in_root dkms)" = "the original" ]
	expect "what is registered stays" [ -e "$root/var/lib/dkms/hello/2.0/source/dkms.conf" ]
	expect "and what is installed" [ -e "$root/lib/modules/6.9.1-1.fc42/$7/hello.ko" ]
	expect "ours once more" in_root sh -c "$3 dkms"
	status "knows it still" "hello/2.0, $hello"
	expect "the module's package is removed" in_root sh -c "$4 dkms-hello"
	status "with the module" ""
	gone "and all that belongs to it" "/var/lib/dkms/hello" "/lib/modules/6.9.1-1.fc42/$7/hello.ko"
	expect "dkms is removed" in_root sh -c "$4 dkms"
	gone "but for the configuration" /usr/sbin/dkms /usr/lib/dkms/dkms-hook /usr/lib/kernel/install.d/40-dkms.install
}

# judged: what rpmlint finds is what packaging.md answers.
judged() {
	step "rpmlint"
	in_root rpmlint "/repo/fedora/dkms-$ours.x86_64.rpm" >"$log" 2>&1
	sed -n 's/^dkms[^ ]* [EW]: \([^ ]*\).*/\1/p' "$log" | sort -u >"$cache/findings"
	while read -r finding; do
		expect "$finding is answered" grep -q "\`$finding\`" "$here/../dist/doc/packaging.md"
	done <"$cache/findings"
}

prepare "$@"
make_repositories
for merged in no yes; do
	step "dnf, /usr/sbin merged: $merged"
	machine fedora $merged
	story fedora "dnf -qy install" "dnf -qy upgrade" "dnf -qy remove --noautoremove" "dnf -qy downgrade dkms" kernel-devel-matched extra
	step "zypper, /usr/sbin merged: $merged"
	machine opensuse-tumbleweed $merged
	story suse "zypper -nq --no-gpg-checks install --allow-unsigned-rpm" "zypper -nq update" "zypper -nq remove" \
		"zypper -nq install --oldpackage dkms-3.4.3-1" kernel-syms updates
done
judged
conclude "as dnf and zypper of Debian trixie have it"
