#!/bin/sh
# shellcheck disable=SC2016 # ${Version} is for dpkg-query
# packages.sh PACKAGE.deb [PACKAGE.rpm]: the life of a Debian machine with our
# dkms package, and a short one of the other package where rpm is installed.
# In a chroot of ${PACKAGES_SUITE:-bookworm} it takes the place of Debian's dkms, sees packages
# with modules and kernels come and go, is purged, and gives way to Debian's
# again. The system, and what apt fetched for it, are kept in
# ${PACKAGES_CACHE:-/var/tmp/dkms-packages}. Prints PASS or FAIL for every
# expectation; the status is 0 if all were met.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=testscripts/packages/lib.sh
. "$here/packages/lib.sh"
[ -f "${1-}" ] || { echo "usage: packages.sh PACKAGE.deb [PACKAGE.rpm] (made by make deb rpm)" >&2 && exit 2; }
alone "$@"
ours=$(dpkg-deb -f "$1" Version)

prepare() {
	make_base base ca-certificates kmod zstd
	make_root root
	install -m 644 "$1" "$root/packages/ours.deb"
	mkdir -p "$root/etc/initramfs-tools/conf.d"
	echo MODULES=list >"$root/etc/initramfs-tools/conf.d/small"
}

# A module that fits the newest kernel of the suite, its package first.
third=dm-writeboost third_ko=dm-writeboost
[ "$suite" != sid ] || { third=lime-forensics third_ko=lime; }

# ---- expectations ----

# What has to be said: when Debian's package, which is older and has fewer
# conffiles, comes back; when ours goes and leaves modules or the key; when the
# only kernel goes, or headers under modules that were built with them.
inevitable="^dpkg: warning: downgrading dkms |\
^dpkg: warning: unable to delete old directory '/etc/(kernel/preinst.d|dkms/framework.conf.d)'|\
^dpkg: warning: while removing dkms, directory '/var/lib/dkms' not empty|\
^dpkg: warning: while removing linux-headers-[^ ]*, directory '/lib/modules/|\
^W: Last kernel image has been removed"

# apt TEXT ARGUMENTS...: apt-get succeeds and nobody complains.
apt() {
	text=$1 && shift
	in_root apt-get -y -q "$@" >"$log" 2>&1
	code=$?
	cat "$log" >>"$cache/apt-$suite.log"
	if [ $code = 0 ] && ! grep -Ev "$inevitable" "$log" | grep -E '^(dpkg(-[a-z]+)?: (error|warning)|E:|W:|run-parts:)'; then
		pass "$text"
	else
		fail "$text (status $code: apt-get $*)"
	fi
}

# status TEXT [LINE...]: dkms status prints these lines in some order.
status() {
	text=$1 && shift
	got=$(in_root dkms status 2>"$log") || { fail "$text (dkms status failed)" && return; }
	got=$(printf '%s\n' "$got" | sort) want=$(printf '%s\n' "$@" | sort)
	if [ "$got" = "$want" ]; then pass "$text"; else
		printf 'dkms status printed:\n%s\nwant:\n%s\n' "$got" "$want" >>"$log"
		fail "$text"
	fi
}

# modules KERNEL [NAME...]: these and no others are in place, for that kernel.
modules() {
	release=$1 && shift
	got=$(cd "$root/lib/modules/$release/updates/dkms" 2>/dev/null && ls)
	files=$got got=$(printf '%s\n' "$got" | sed 's/\.xz$//')
	want=$(for name; do echo "$name.ko"; done)
	: >"$log"
	for file in $files; do
		case $(in_root modinfo -F vermagic "/lib/modules/$release/updates/dkms/$file") in
		"$release "*) ;;
		*) got="$got (not for this kernel: $file)" ;;
		esac
	done
	if [ "$got" = "$want" ]; then pass "modules of $release: $*"; else
		printf 'found:\n%s\n' "$got" >"$log"
		fail "modules of $release: $*"
	fi
}

# indexed KERNEL NAME: modprobe would find the module.
indexed() { expect "modprobe finds $2 of $1" in_root modprobe --set-version "$1" --show-depends --dry-run "$2"; }

# version NAME prints the version of a package's module, from its sources.
version() { (cd "$root/usr/src" && ls -d "$1"-[0-9]*) | sed "s/^$1-//"; }

# installed MODULE...: what dkms status prints if all is well.
installed() { for id; do for k in $kernels; do echo "$id, $k, x86_64: installed"; done; done; }

# ---- the story ----

debians_dkms() {
	step "Debian's dkms builds and installs"
	apt "install Debian's dkms, two packages with modules and headers" \
		install dkms acpi-call-dkms v4l2loopback-dkms linux-headers-amd64
	theirs=$(in_root dpkg-query -W -f '${Version}' dkms)
	kernel=$(cd "$root/lib/modules" && ls)
	acpi=acpi-call/$(version acpi-call) v4l=v4l2loopback/$(version v4l2loopback)
	kernels=$kernel
	status "Debian's dkms $theirs has installed them for $kernel" "$(installed "$acpi" "$v4l")"
	echo '# a word of the administrator' >>"$root/etc/dkms/framework.conf"
}

ours_takes_over() {
	step "ours takes its place"
	apt "install ours over Debian's" install /packages/ours.deb
	said "the changed framework.conf stays" "Keeping old config file|keep.*old config"
	expect "the administrator's word is still in it" grep -q administrator "$root/etc/dkms/framework.conf"
	for hook in postinst header_postinst preinst prerm; do
		expect "the $hook hook is ours" grep -q "/usr/lib/dkms/dkms-hook" "$root/etc/kernel/$hook.d/dkms"
	done
	expect "it is dkms $ours" [ "$(in_root dpkg-query -W -f '${Version} ${Status}' dkms)" = "$ours install ok installed" ]
	expect "and says so" [ "$(in_root dkms --version)" = dkms-3.4.3 ]
	expect "no file of it was changed" verified
	expect "the boot service is enabled" [ -L "$root/etc/systemd/system/multi-user.target.wants/dkms.service" ]
	status "what Debian's had installed is known" "$acpi, $kernel, x86_64: installed" "$v4l, $kernel, x86_64: installed"
	modules "$kernel" acpi_call v4l2loopback

	expect "what Debian's had installed can be uninstalled" in_root dkms uninstall "$acpi" -k "$kernel"
	modules "$kernel" v4l2loopback
	status "and is still built" "$acpi, $kernel, x86_64: built" "$v4l, $kernel, x86_64: installed"
	expect "what Debian's had built can be installed" in_root dkms install "$acpi" -k "$kernel"
	modules "$kernel" acpi_call v4l2loopback
	# Debian's may have left the index to the package of the kernel, which is not here.
	[ ! -e "$root/lib/modules/$kernel/modules.dep" ] || indexed "$kernel" acpi_call
	expect "what Debian's had registered can be removed" in_root dkms remove "$v4l" --all
	modules "$kernel" acpi_call
	gone "with all that belongs to it" "/var/lib/dkms/${v4l%/*}"
	apt "its package can be installed again" install --reinstall v4l2loopback-dkms
	status "and is built by ours" "$acpi, $kernel, x86_64: installed" "$v4l, $kernel, x86_64: installed"
}

# verified tells whether dpkg finds only the conffile that we changed.
verified() { [ "$(in_root dpkg --verify dkms)" = "??5?????? c /etc/dkms/framework.conf" ]; }

kernels_come() {
	step "kernels come, and a package with a module"
	apt "install a kernel, another one's headers and $third-dkms" \
		install linux-image-amd64 linux-headers-rt-amd64 "$third-dkms"
	realtime=$(cd "$root/lib/modules" && ls -d -- *rt-amd64)
	kernels="$kernel $realtime" extra=$third/$(version "$third")
	all_installed "everything is installed for both"
	modules "$kernel" acpi_call "$third_ko" v4l2loopback
	modules "$realtime" acpi_call "$third_ko" v4l2loopback
	indexed "$kernel" "$third_ko"
	apt "install the kernel's package anew" install --reinstall "linux-image-$kernel"
	said "its hooks have run" "^/etc/kernel/postinst.d/dkms:"
	all_installed "everything is installed as before"
	apt "install the other one's headers anew" install --reinstall "linux-headers-$realtime"
	all_installed "everything is installed as before"
	excluded
}

# excluded: v4l2loopback says that it is not for kernels without video devices.
excluded() {
	apt "install headers that not every module is for" install linux-headers-cloud-amd64
	cloud=$(cd "$root/lib/modules" && ls -d -- *cloud-amd64)
	modules "$cloud" acpi_call "$third_ko"
	status "two of three are installed" "$(installed "$acpi" "$extra" "$v4l")" \
		"$acpi, $cloud, x86_64: installed" "$extra, $cloud, x86_64: installed"
	for module in "$acpi" "$extra"; do
		expect "$module is taken out of that kernel" in_root dkms unbuild "$module" -k "$cloud"
	done
	apt "purge the headers" purge linux-headers-cloud-amd64 "linux-headers-$cloud"
	all_installed "everything is installed as before"
}

all_installed() { status "$1" "$(installed "$acpi" "$extra" "$v4l")"; }

packages_go() {
	step "packages with modules are installed anew, removed and purged"
	apt "install acpi-call-dkms anew" install --reinstall acpi-call-dkms
	all_installed "everything is installed as before"
	apt "remove $third-dkms" remove "$third-dkms"
	modules "$kernel" acpi_call v4l2loopback
	modules "$realtime" acpi_call v4l2loopback
	gone "nothing is left of it" "/var/lib/dkms/${extra%/*}" "/usr/src/$third-${extra#*/}"
	apt "install it again" install "$third-dkms"
	all_installed "it is built for both kernels"
	apt "purge it" purge "$third-dkms"
	gone "nothing is left of it" "/var/lib/dkms/${extra%/*}"
	extra=
}

kernels_go() {
	step "a kernel goes and comes again"
	# Since trixie the headers depend on an image: apt would put another one in.
	headers=''
	[ "$suite" = bookworm ] || headers=linux-headers-$kernel
	# shellcheck disable=SC2086 # or none
	apt "remove the kernel" remove "linux-image-$kernel" $headers
	said "its hook has run" "^/etc/kernel/prerm.d/dkms:"
	status "nothing is left for it" "$acpi, $realtime, x86_64: installed" "$v4l, $realtime, x86_64: installed"
	gone "not in its directory either" "/lib/modules/$kernel/updates"
	apt "install it again" install linux-image-amd64 linux-headers-amd64
	status "everything is installed for it again" "$(installed "$acpi" "$v4l")"
	modules "$kernel" acpi_call v4l2loopback
	apt "purge the other kernel's headers" purge linux-headers-rt-amd64 "linux-headers-$realtime"
	kernels=$kernel
}

# module_package NAME [LINE]: a package with a module, and a line of its dkms.conf.
# Its script goes on where the module cannot be built.
module_package() {
	dir=$root/packages/$1
	mkdir -p "$dir/DEBIAN"
	module_sources "$dir/usr/src/$1-1.0" "$1" "${2-}"
	printf '%s\n' "Package: $1-dkms" 'Version: 1.0' 'Architecture: all' 'Maintainer: nobody <nobody@localhost.invalid>' \
		'Depends: dkms' 'Description: a module' >"$dir/DEBIAN/control"
	printf '#!/bin/sh\n[ "$1" != configure ] || /usr/lib/dkms/common.postinst %s 1.0 || true\n' "$1" >"$dir/DEBIAN/postinst"
	printf '#!/bin/sh\nexec dkms remove %s/1.0 --all\n' "$1" >"$dir/DEBIAN/prerm"
	chmod 755 "$dir"/DEBIAN/p*
	dpkg-deb -b --root-owner-group "$dir" >>"$cache/apt-$suite.log" && rm -r "$dir"
}

# builds TEXT NUMBER: the last command has made that many builds.
builds() {
	number=$(grep -c ': built for ' "$log")
	if [ "$number" = "$2" ]; then pass "$1"; else fail "$1 ($number builds, want $2)"; fi
}

# settled: what no hook can build is built once, when dpkg has done everything else.
settled() {
	step "what comes in the wrong order, and headers that call no hook"
	for id in "$acpi" "$v4l"; do expect "$id is taken out of the other kernel" in_root dkms unbuild "$id" -k "$realtime"; done
	module_package early 'BUILD_DEPENDS[0]=late'
	module_package late
	apt "install a module, and what it builds on after it" install /packages/early.deb /packages/late.deb
	said "its own package could not build it" "^dkms: early/1.0: kernel .*: builds on late, which is not installed"
	builds "each was built once" 2
	status "both are installed" "$(installed "$acpi" early/1.0 late/1.0 "$v4l")"
	apt "install what calls no hook and changes nothing" install --reinstall "linux-headers-${kernel%-amd64}-common"
	said "dkms was asked" "^Processing triggers for dkms"
	if sed '1,/^Processing triggers for dkms/d' "$log" | grep '^dkms'; then fail "and said nothing"; else pass "and said nothing"; fi
	apt "purge both modules" purge early-dkms late-dkms

	dpkg-deb -R "$cache/archives-$suite-root/linux-headers-${realtime}_"*.deb "$root/packages/headers"
	rm -f "$root/packages/headers/DEBIAN/"p*
	dpkg-deb -b -Znone --root-owner-group "$root/packages/headers" >"$log" && rm -r "$root/packages/headers"
	apt "install headers whose package has no script" install /packages/headers.deb
	builds "each module was built once" 2
	kernels="$kernel $realtime"
	status "everything is installed for them" "$(installed "$acpi" "$v4l")"
	kernels=$kernel
	apt "purge the headers" purge "linux-headers-$realtime"
}

broken_module() {
	step "a module that does not compile"
	mkdir "$root/usr/src/broken-1.0"
	echo '#error broken on purpose' >"$root/usr/src/broken-1.0/broken.c"
	echo 'obj-m := broken.o' >"$root/usr/src/broken-1.0/Makefile"
	cat >"$root/usr/src/broken-1.0/dkms.conf" <<-'END'
		PACKAGE_NAME="broken"
		PACKAGE_VERSION="1.0"
		BUILT_MODULE_NAME[0]="broken"
		DEST_MODULE_LOCATION[0]="/updates"
		AUTOINSTALL="yes"
	END
	expect "is registered" in_root dkms add broken/1.0
	reject "fails by itself" 10 in_root dkms build broken/1.0 -k "$kernel"
	apt "does not stop a kernel's package" install --reinstall "linux-image-$kernel"
	said "which says what failed" "broken/1\.0"
	echo 'hook_errors="fail"' >"$root/etc/dkms/framework.conf.d/test.conf"
	reject "unless the administrator says so" 100 in_root apt-get -y -q install --reinstall "linux-image-$kernel"
	rm "$root/etc/dkms/framework.conf.d/test.conf"
	expect "and the package can be configured after that" in_root dpkg --configure -a
	expect "is removed" in_root dkms remove broken/1.0 --all
	rm -r "$root/usr/src/broken-1.0"
}

ours_goes() {
	step "ours is removed and purged"
	cp -r "$here/demo/dkms-demo-1.0" "$root/usr/src"
	expect "a module without a package is installed" in_root dkms install dkms-demo/1.0 -k "$kernel"
	expect "a key is made" in_root dkms generate_mok
	apt "remove ours and what depends on it" remove dkms
	modules "$kernel" dkms_demo
	gone "what was built for headers that had gone is gone too" "/lib/modules/$realtime/updates"
	apt "a kernel's package does not miss it" install --reinstall "linux-image-$kernel"
	apt "purge ours" purge dkms
	gone "the programs and the configuration are gone" /usr/sbin/dkms /usr/lib/dkms /etc/dkms \
		/usr/lib/kernel/install.d/40-dkms.install /usr/lib/systemd/system/dkms.service \
		/etc/systemd/system/multi-user.target.wants/dkms.service /etc/modprobe.d/dkms.conf \
		/etc/kernel/postinst.d/dkms /etc/kernel/header_postinst.d/dkms /etc/kernel/preinst.d/dkms /etc/kernel/prerm.d/dkms \
		/etc/kernel/postinst.d/zzz-dkms-guard
	expect "what is registered stays" [ -L "$root/var/lib/dkms/dkms-demo/1.0/source" ]
	apt "install ours again" install /packages/ours.deb
	status "it is known" "dkms-demo/1.0, $kernel, x86_64: installed"
	expect "it is removed" in_root dkms remove dkms-demo/1.0 --all
	rm -r "$root/usr/src/dkms-demo-1.0"
	apt "purge ours again" purge dkms
	left=$(cd "$root" && find . \( -path ./proc -o -path ./packages -o -path ./var/cache -o -path ./var/log \) -prune -o -name '*dkms*' -print | sort)
	expect "nothing is left but the key" [ "$left $(ls "$root/var/lib/dkms")" = "./var/lib/dkms mok.key
mok.pub" ]
	[ "$left" = ./var/lib/dkms ] || printf '     | %s\n' "$left"
}

debians_again() {
	step "Debian's dkms comes back"
	apt "install ours and the packages with modules" install /packages/ours.deb acpi-call-dkms v4l2loopback-dkms
	status "ours has installed them" "$acpi, $kernel, x86_64: installed" "$v4l, $kernel, x86_64: installed"
	apt "put Debian's in its place" install --allow-downgrades "dkms=$theirs"
	expect "it is dkms ${theirs%%-*}" [ "$(in_root dkms --version)" = "dkms-${theirs%%-*}" ]
	gone "the boot service is gone" /etc/systemd/system/multi-user.target.wants/dkms.service
	expect "its hooks are there" grep -q dkms_autoinstaller "$root/etc/kernel/postinst.d/dkms"
	status "what ours had installed is known" "$acpi, $kernel, x86_64: installed" "$v4l, $kernel, x86_64: installed"
	expect "and can be uninstalled" in_root dkms uninstall "$acpi" -k "$kernel"
	modules "$kernel" v4l2loopback
	status "it is still built" "$acpi, $kernel, x86_64: built" "$v4l, $kernel, x86_64: installed"
	apt "remove a package whose module ours had installed" remove v4l2loopback-dkms
	gone "nothing is left of it" "/var/lib/dkms/${v4l%/*}" "/lib/modules/$kernel/updates/dkms/v4l2loopback.ko" "/lib/modules/$kernel/updates/dkms/v4l2loopback.ko.xz"

	apt "ours once more" install /packages/ours.deb
	status "it sees what Debian's has done" "$acpi, $kernel, x86_64: built"
	apt "Debian's once more" install --allow-downgrades "dkms=$theirs"
	expect "which builds over what ours had built" in_root dkms build "$acpi" -k "$kernel" --force
	expect "and installs that" in_root dkms install "$acpi" -k "$kernel"
	apt "ours for good" install /packages/ours.deb
	status "it knows" "$acpi, $kernel, x86_64: installed"
	apt "remove the package" remove acpi-call-dkms
	gone "nothing is left" "/var/lib/dkms/${acpi%/*}" "/lib/modules/$kernel/updates/dkms"
	status "no module is registered"
}

# judged: Debian's own judge has nothing to say about the package that is not
# answered in it.
judged() {
	step "lintian"
	make_root lint
	apt "install lintian" install lintian
	install -m 644 "$1" "$root/packages/ours.deb"
	expect "finds neither errors nor warnings" in_root lintian --allow-root --fail-on error,warning /packages/ours.deb
	quiet "and says nothing"
}

# rpm_package: what rpm itself makes of the other package, in a root of its own.
rpm_package() {
	step "the rpm"
	fedora=$cache/fedora
	rm -rf "$fedora"
	cp -a --reflink=auto "$base" "$fedora"
	expect "installs" on_fedora -i --nodeps "$1"
	expect "is complete" on_fedora -V --nodeps dkms
	expect "runs" [ "$(chroot "$fedora" dkms --version)" = dkms-3.4.3 ]
	expect "has the plugin of kernel-install" [ -x "$fedora/usr/lib/kernel/install.d/40-dkms.install" ]
	expect "takes the place of the original of that version" sh -c "rpm -qp --provides '$1' | grep -Fx 'dkms = $ours'"
	echo '# a word of the administrator' >>"$fedora/etc/dkms/framework.conf"
	mkdir -p "$fedora/var/lib/dkms/some/1.0"
	expect "is installed anew" on_fedora -U --replacepkgs --nodeps "$1"
	expect "and keeps the changed framework.conf" grep -q administrator "$fedora/etc/dkms/framework.conf"
	expect "is removed" on_fedora -e dkms
	expect "and keeps it still" [ -f "$fedora/etc/dkms/framework.conf.rpmsave" ]
	expect "and what is registered" [ -d "$fedora/var/lib/dkms/some/1.0" ]
	expect "and nothing else" [ ! -e "$fedora/usr/sbin/dkms" ]
}

on_fedora() { rpm --force-debian --root "$fedora" "$@"; }

prepare "$1"
: >"$cache/apt-$suite.log"
debians_dkms
ours_takes_over
kernels_come
packages_go
kernels_go
settled
broken_module
ours_goes
debians_again
judged "$1"
if [ -z "$2" ]; then :; elif command -v rpm >/dev/null; then rpm_package "$2"; else
	echo "packages.sh: rpm is not installed, the .rpm is not tried" >&2
fi
conclude "all that apt said is in $cache/apt-$suite.log"
