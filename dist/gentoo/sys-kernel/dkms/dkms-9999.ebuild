# The ebuild of this repository, for an overlay. It has the name of Gentoo's
# own package and takes its place: both have the same files.
#
# A release is a copy with a version, say 3.4.3.1, newer than the original's
# that it stands in for. It takes two archives from the distfiles directory:
# the sources, and what "GOMODCACHE=$PWD/go-mod go mod download -modcacherw"
# makes of them.

EAPI=8

inherit go-module linux-info optfeature systemd

DESCRIPTION="Build kernel modules whenever a kernel is installed"
HOMEPAGE="https://wiki.gentoo.org/wiki/DKMS"

if [[ ${PV} == 9999 ]]; then
	inherit git-r3
	# Where your checkout is, unless EGIT_OVERRIDE_REPO_DKMS says otherwise.
	EGIT_REPO_URI="file:///usr/src/dkms"
else
	SRC_URI="${P}.tar.xz ${P}-deps.tar.xz"
	RESTRICT="fetch"
	KEYWORDS="~amd64 ~arm64"
fi

# Go's own and golang.org/x/sys, compress and xz: BSD; kong: MIT; the rest:
# Apache-2.0.
LICENSE="Apache-2.0 BSD MIT"
SLOT="0"
IUSE="systemd"

# The tests build modules for the kernels of the machine.
RESTRICT+=" test"

BDEPEND=">=dev-lang/go-1.26"
RDEPEND="
	app-shells/bash
	dev-build/make
	sys-apps/kmod
	sys-devel/binutils
	sys-devel/patch
	virtual/linux-sources
	systemd? ( sys-apps/systemd )
"

CONFIG_CHECK="~MODULES"

src_unpack() {
	if [[ ${PV} == 9999 ]]; then
		git-r3_src_unpack
		cd "${S}" || die
		ego mod download
	fi
	go-module_src_unpack
}

src_compile() {
	export CGO_ENABLED=0
	ego build -trimpath -ldflags "-s -w" -o bin/dkms ./oneshot
	ego build -trimpath -ldflags "-s -w" -o bin/dkms-hook ./hooks
}

# installkernel can be told at any call to use kernel-install or not to, so the
# plugins of both are there whatever USE says: install.d/40-dkms.install and
# preinst.d/40-dkms.install, before the initramfs is made. USE=systemd decides
# on the boot service.
src_install() {
	local services=( SYSTEMD= )
	use systemd && services=( OPENRC= SYSTEMD="$(systemd_get_systemunitdir)" )
	emake install DESTDIR="${ED}" DISTRO=gentoo "${services[@]}"
	mv "${ED}"/usr/share/doc/{${PN},${PF}} || die
	dodoc README.md CHANGES.md
	keepdir /var/lib/dkms /etc/dkms/framework.conf.d
}

# Hooks of the original that are left over would take out what ours have just
# built: the package manager keeps changed files in /etc, and others may have
# put them into /usr/lib.
pkg_postinst() {
	local hook
	for hook in "${EROOT}"/{etc,usr/lib}/kernel/{preinst,postinst,header_postinst,prerm}.d/dkms; do
		[[ -e ${hook} ]] && ewarn "Remove ${hook}, it belongs to another dkms."
	done
	if use systemd; then
		elog "To build missing modules at boot: systemctl enable dkms"
	else
		elog "To build missing modules at boot: rc-update add dkms default"
	fi
	optfeature "building modules whenever a kernel is installed" sys-kernel/installkernel
}
