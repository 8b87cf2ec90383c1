#!/bin/sh
# rpm.sh FEDORA.rpm SUSE.rpm NEXT-FEDORA.rpm NEXT-SUSE.rpm: our dkms and its next
# release on machines with dnf and with zypper, as far as those of Debian trixie
# make one: a root whose packages come from a repository in a directory, with and
# without a merged /usr/sbin. It takes the place of a noarch dkms like the
# distribution's, lives through an upgrade of itself and of a module, gives way to
# the other again, and builds what packages leave to it when a transaction is over.
# Then rpmlint judges it. Prints PASS or FAIL for every expectation; the status is
# 0 if all were met.
here=$(cd "$(dirname "$0")/.." && pwd)
PACKAGES_SUITE=trixie
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -f "${4-}" ] || { echo "usage: rpm.sh FEDORA.rpm SUSE.rpm NEXT-FEDORA.rpm NEXT-SUSE.rpm (made by make test-rpm)" >&2 && exit 2; }
alone "$@"

# The root has the tools and is the machine: rpm's database begins empty, so
# that what is required comes from the repository.
prepare() {
	make_base base ca-certificates kmod zstd
	make_root rpm
	in_root apt-get install -qy rpm rpmlint dnf zypper createrepo-c gcc libc6-dev make patch binutils xz-utils \
		>"$log" 2>&1 || { cat "$log" && exit 2; }
	for kind in fedora suse; do mkdir -p "$root/repo/$kind" "$root/next/$kind"; done
	cp "$1" "$root/repo/fedora" && cp "$2" "$root/repo/suse" && cp -r "$here/fakekernel" "$root/fakekernel" || exit
	cp "$3" "$root/next/fedora" && cp "$4" "$root/next/suse" || exit
	ours=$(rpm_of "$root/repo/fedora"/dkms-*.x86_64.rpm '%{version}-%{release}')
	next=$(rpm_of "$root/next/fedora"/dkms-*.x86_64.rpm '%{version}-%{release}')
	pristine=$root.pristine
	rm -rf "$pristine"
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

# release_of PACKAGE: the kernel that these headers are of.
release_of() { case $1 in kernel-rt-devel) echo 6.9.3-1.fc42 ;; *) echo 6.9.2-1.fc42 ;; esac; }

# module_package NAME VERSION [SCRIPT] [CONF] [CODE] [LINE]: a package with the
# sources of NAME/1.0, and with that script after its installation, or none.
module_package() {
	rm -rf "$root/tmp/sources" && module_sources "$root/tmp/sources" "$1" "${4-}" "${5-}"
	spec "dkms-$1" "$2" noarch "Requires: dkms" ${6:+"$6"} "%define module $1" <<-END
		%install
		mkdir -p %{buildroot}/usr/src
		cp -R /tmp/sources %{buildroot}/usr/src/$1-1.0
		${3:+%post}
		${3-}
		%files
		/usr/src/$1-1.0
	END
}

# make_repositories: what a machine has that is no part of this, a dkms like the
# distribution's, and a module as it is packaged for it.
make_repositories() {
	for name in bash binutils coreutils findutils gcc gzip kmod make patch tar xz kernel-core kernel-syms \
		kernel-devel-matched elfutils-libelf-devel libelf-devel systemd; do
		also=''
		[ $name != bash ] || also='Provides: /bin/sh'
		echo %files | spec $name 99 noarch "$also"
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
	# Of these two, each without the other's script would do, if the later came first.
	by_script='/usr/lib/dkms/common.postinst %{module} 1.0 || :'
	module_package early 1 "$by_script" 'BUILD_DEPENDS[0]=late'
	module_package late 1 "$by_script" '' '' 'Requires: dkms-early'
	for v in 1 2; do module_package quiet $v; done
	module_package broken 1 'dkms add broken/1.0 -q || :' '' '#error broken on purpose'
	for name in kernel-devel kernel-rt-devel; do
		release=$(release_of $name)
		in_root sh /fakekernel/install.sh /kernels "$release" >"$log" 2>&1 || { cat "$log" && exit 2; }
		ln -sfn "/usr/src/kernels/$release" "$root/kernels/lib/modules/$release/build"
		spec $name 1 noarch <<-END
			%install
			mkdir -p %{buildroot}/usr/src/kernels
			cp -R /kernels/usr/src/linux-headers-$release %{buildroot}/usr/src/kernels/$release
			seq -f "%{buildroot}/usr/src/kernels/$release/include/one-of-many-%%g.h" 5000 | xargs touch
			%files
			/usr/src/kernels/$release
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
	umount --recursive "$root" || exit
	[ -d "$pristine" ] || mv "$root" "$pristine"
	rm -rf "$root"
	cp -a --reflink=auto "$pristine" "$root" && mount_root
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
	expect "ours is installed anew" in_root rpm -U --replacepkgs "/repo/$1/dkms-$ours.x86_64.rpm"
	status "and knows it" "hello/2.0, $hello"
	expect "the distribution's dkms comes back" in_root sh -c "$5"
	expect "in its place" [ "$(in_root rpm -q dkms)" = dkms-3.4.3-1.noarch ]
	expect "and runs" [ "$(in_root dkms)" = "the original" ]
	expect "what is registered stays" in_root test -e /var/lib/dkms/hello/2.0/source/dkms.conf
	expect "and what is installed" [ -e "$root/lib/modules/6.9.1-1.fc42/$7/hello.ko" ]
	expect "ours once more" in_root sh -c "$3 dkms"
	status "knows it still" "hello/2.0, $hello"
	expect "the module's package is removed" in_root sh -c "$4 dkms-hello"
	status "with the module" ""
	gone "and all that belongs to it" "/var/lib/dkms/hello" "/lib/modules/6.9.1-1.fc42/$7/hello.ko"
	expect "dkms is removed" in_root sh -c "$4 dkms"
	gone "but for the configuration" /usr/sbin/dkms /usr/lib/dkms/dkms-hook /usr/lib/kernel/install.d/40-dkms.install
}

# builds TEXT NUMBER: the last command has made that many builds.
builds() {
	number=$(grep -c ': built for ' "$log")
	if [ "$number" = "$2" ]; then pass "$1"; else fail "$1 ($number builds, want $2)"; fi
}

# smooth TEXT COMMAND...: the command succeeds, and nothing complains.
smooth() {
	expect "$@"
	if grep -qi 'error\|warning\|fail' "$log"; then fail "and nobody complains"; else pass "and nobody complains"; fi
}

# are_installed TEXT: these modules are, for each kernel of $kernels, and no others.
are_installed() {
	text=$1 want='' && shift
	for id; do
		for release in $kernels; do want="$want$id, $release, x86_64: installed
"; done
	done
	status "$text" "${want%?}"
}

# settled FAMILY INSTALL UPGRADE REMOVE AGAIN: four command lines. What nobody has
# built is built once, when the transaction is over.
settled() {
	kernels=6.9.1-1.fc42
	expect "dkms comes with a module, and what that builds on after it" in_root sh -c "$2 dkms-late"
	said "its own package could not build it" "early/1.0: kernel .*: builds on late, which is not installed"
	builds "each was built once" 2
	are_installed "both are installed" early/1.0 late/1.0

	expect "a package whose sources nobody has registered" in_root sh -c "$2 dkms-quiet-1"
	builds "is nobody's business" 0
	expect "until the administrator registers them" in_root dkms add quiet/1.0
	expect "other sources come, without a script" in_root sh -c "$3 dkms-quiet"
	builds "they are built once" 1
	are_installed "and installed" early/1.0 late/1.0 quiet/1.0

	kernels="$kernels $(release_of kernel-devel)"
	for package in kernel-devel kernel-rt-devel; do
		cp -a "$root/kernels/lib/modules/$(release_of $package)" "$root/lib/modules"
	done
	smooth "the headers of a kernel come alone" in_root sh -c "$2 kernel-devel"
	builds "each module is built once" 3
	are_installed "everything is installed for it" early/1.0 late/1.0 quiet/1.0

	expect "a module comes that does not compile" in_root sh -c "$2 dkms-broken"
	for release in $kernels; do said "that is said for kernel $release" "kernel $release: failed: broken/1.0"; done
	expect "its package is there" in_root rpm -q dkms-broken
	expect "the headers come again" in_root sh -c "$5 kernel-devel"
	builds "nothing is built" 0
	if grep -q '^ *dkms:' "$log"; then fail "nor said"; else pass "nor said"; fi
	expect "the package goes" in_root sh -c "$4 dkms-broken"
	expect "and the module" in_root dkms remove broken/1.0 --all

	cp "$root/bin/false" "$root/usr/lib/dkms/dkms-hook"
	smooth "the headers come again, and the hook fails" in_root sh -c "$5 kernel-devel"
	smooth "dkms is upgraded" in_root sh -c "$2 /next/$1/dkms-$next.x86_64.rpm"
	builds "nothing is built" 0
	expect "it is the next" [ "$(in_root rpm -q dkms)" = "dkms-$next.x86_64" ]
	are_installed "everything is as it was" early/1.0 late/1.0 quiet/1.0
	smooth "dkms is removed" in_root rpm -e --nodeps dkms
	smooth "the headers of another kernel come" in_root rpm -i "/repo/$1/kernel-rt-devel-1-1.noarch.rpm"
	kernels="$kernels $(release_of kernel-rt-devel)"
	expect "dkms comes back" in_root sh -c "$2 dkms"
	builds "each module is built for it, once" 3
	are_installed "everything is installed for it" early/1.0 late/1.0 quiet/1.0
	smooth "dkms is removed, with what needs it" in_root sh -c "$4 dkms"
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
	story fedora "dnf -qy install" "dnf -qy upgrade" "dnf -qy remove --noautoremove" "dnf -qy install dkms-3.4.3-1" kernel-devel-matched extra
	settled fedora "dnf -y install" "dnf -y upgrade" "dnf -y remove --noautoremove" "dnf -y reinstall"
	step "zypper, /usr/sbin merged: $merged"
	machine opensuse-tumbleweed $merged
	story suse "zypper -nq --no-gpg-checks install --allow-unsigned-rpm" "zypper -nq update" "zypper -nq remove" \
		"zypper -nq install --oldpackage dkms-3.4.3-1" kernel-syms updates
	settled suse "zypper -n --no-gpg-checks install --allow-unsigned-rpm" "zypper -n update" "zypper -n remove" "zypper -n install --force"
done
judged
conclude "as dnf and zypper of Debian trixie have it"
