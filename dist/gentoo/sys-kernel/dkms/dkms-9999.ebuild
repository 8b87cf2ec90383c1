# Copyright 2026 Gentoo Authors
# Distributed under the terms of the GNU General Public License v2

# It has the name of Gentoo's own package and takes its place: both have the
# same files. The other ebuild here, of a release, is a link to this one.

EAPI=8

inherit go-env go-module linux-info optfeature systemd

DESCRIPTION="Build kernel modules whenever a kernel is installed"
HOMEPAGE="https://wiki.gentoo.org/wiki/DKMS"

# Upstream's 3.4.3+go1 is 3.4.3_p1 here.
MY_P="${PN}-${PV/_p/+go}"

if [[ ${PV} == *9999 ]]; then
	inherit git-r3
	# Where your checkout is, unless EGIT_OVERRIDE_REPO_USR_SRC_DKMS says
	# otherwise. Portage fetches as a user of its own, and git reads what
	# belongs to another one only where it is told to:
	# git config --system --add safe.directory /usr/src/dkms
	EGIT_REPO_URI="file:///usr/src/dkms"
else
	# "make source" in a checkout makes both.
	SRC_URI="${MY_P}.tar.xz ${MY_P}-vendor.tar.xz"
	S="${WORKDIR}/${MY_P}"
	KEYWORDS="~amd64 ~arm64 ~riscv ~x86"
	RESTRICT="fetch"
fi

# Go's own, x/sys, compress and one xz: BSD; the other xz: 0BSD; kong: MIT; the rest:
# Apache-2.0. The texts are in licenses.txt.
LICENSE="Apache-2.0 0BSD BSD MIT"
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
	sys-devel/gcc
	sys-devel/patch
	virtual/linux-sources
	systemd? ( sys-apps/systemd )
"

CONFIG_CHECK="~MODULES"

pkg_nofetch() {
	einfo "Nobody distributes these archives. Run \"make source\" in a checkout of ${PN}"
	einfo "${PV/_p/+go}, and put what it makes into your DISTDIR:"
	einfo "  ${MY_P}.tar.xz ${MY_P}-vendor.tar.xz"
}

src_unpack() {
	if [[ ${PV} == *9999 ]]; then
		git-r3_src_unpack
		go-module_live_vendor
		go-env_set_compile_environment
	else
		go-module_src_unpack
	fi
}

# Portage takes the symbols out, or keeps them, as FEATURES say. Programs that
# move in memory are what Gentoo's compilers make by default.
src_compile() {
	export GOFLAGS="${GOFLAGS} -buildmode=pie"
	emake GOLDFLAGS=
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
	docompress -x "/usr/share/doc/${PF}/examples"
	dodoc README.md CHANGES.md
	keepdir /var/lib/dkms /etc/dkms/framework.conf.d
}

# Hooks of the original that are left over would take out what ours have just
# built: the package manager keeps changed files in /etc, and others may have
# put them into /usr/lib.
pkg_postinst() {
	local old
	for old in "${EROOT}"/{etc,usr/lib}/kernel/{preinst,postinst,header_postinst,prerm}.d/dkms; do
		[[ -e ${old} ]] && ewarn "Remove ${old}, it belongs to another dkms."
	done
	if use systemd; then
		elog "To build missing modules at boot: systemctl enable dkms"
	else
		elog "To build missing modules at boot: rc-update add dkms default"
	fi
	elog "To hear before an upgrade which modules will not build for a new binary"
	elog "kernel: alias emerge=dkms-emerge"
	optfeature "building modules whenever a kernel is installed" sys-kernel/installkernel
}
