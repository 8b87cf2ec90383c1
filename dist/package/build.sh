#!/bin/sh
# build.sh deb|rpm: packs what "make install" lays down, the .deb with nfpm and the
# .rpm with rpmbuild. Run it by "make deb" or "make rpm", which say what VERSION,
# RELEASE, BIN, NFPM, GO and MAKE are. GOARCH=arm64 makes the packages of that
# architecture.
set -eu
format=$1
# make -n runs this too, for the sake of the make below: its letters come first.
letters=${MAKEFLAGS-} letters=${letters%% *}
case $letters in -* | *=*) ;; *n*) exit 0 ;; esac
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"

: "${MAINTAINER:=DKMS in Go <dkms@localhost.invalid>}"
: "${HOMEPAGE:=https://wiki.gentoo.org/wiki/DKMS}"
# Where others can fetch the sources from: nothing is said if nobody can.
: "${VCS:=$(git config --get remote.origin.url 2>/dev/null | grep '^https:' || true)}"
# Packages are the same for the same commit, whenever they are made.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
ARCH=$("$GO" env GOARCH)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export ARCH VERSION RELEASE MAINTAINER HOMEPAGE VCS SOURCE_DATE_EPOCH
mkdir -p "$BIN"

# quietly COMMAND...: what it says counts only if it fails.
quietly() { "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2 && exit 1; }; }

# The .deb has no script of OpenRC: on Debian other programs take whatever is in
# /etc/init.d for theirs.
deb() {
	export STAGE="$tmp/stage"
	# Debian's names of the kernels for an architecture.
	case $ARCH in
	386) HEADERS=686-pae ;;
	arm) HEADERS=armmp ;;
	ppc64le) HEADERS=powerpc64le ;;
	*) HEADERS=$ARCH ;;
	esac
	export HEADERS
	"$MAKE" -s --no-print-directory install DESTDIR="$STAGE" DISTRO=debian OPENRC= BIN="$BIN" >/dev/null

	doc=$STAGE/usr/share/doc/dkms
	install -m 644 dist/package/deb/README.Debian "$doc"
	cat dist/package/deb/copyright dist/doc/licenses.txt >"$doc/copyright"
	rm "$doc/licenses.txt"
	install -D -m 644 dist/package/deb/lintian "$STAGE/usr/share/lintian/overrides/dkms"
	install -m 644 CHANGES.md "$doc/changelog"
	{
		echo "dkms ($VERSION-$RELEASE) unstable; urgency=medium"
		printf '\n  * See changelog.gz.\n\n'
		echo " -- $MAINTAINER  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
	} >"$doc/changelog.Debian"
	gzip -9n "$doc/changelog" "$doc/changelog.Debian" "$STAGE"/usr/share/man/man?/*
	find "$tmp" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

	# nfpm runs here whatever the package is for. It prints a line for each file.
	GOOS='' GOARCH='' quietly "$GO" run "$NFPM" package --config dist/package/nfpm.yaml --packager deb --target "$BIN"
	sed -n 's/^created package: //p' "$tmp/log"
}

# The spec file is a distribution's: what differs here is put in. rpmbuild calls the
# make of this directory, with the variables of the make that called this; it writes
# nothing else outside of $tmp, and asks no database for what builds the programs.
# The package is the same whatever the distribution's macros are.
rpm() {
	command -v rpmbuild >/dev/null || {
		echo "build.sh: rpmbuild is not installed: the package rpm-build, or rpm on Debian" >&2 && exit 1
	}
	# Go's names of architectures, where rpm has others.
	case $ARCH in
	amd64) arch=x86_64 ;;
	arm64) arch=aarch64 ;;
	386) arch=i386 ;;
	arm) arch=armv7hl ;;
	loong64) arch=loongarch64 ;;
	mips64le) arch=mips64el ;;
	*) arch=$ARCH ;;
	esac
	sed "s|^\(Version: *\).*|\1$VERSION|; s|^\(Release: *\)1%|\1$RELEASE%|; s|^\(URL: *\).*|\1$HOMEPAGE|" \
		dist/package/rpm/dkms.spec >"$tmp/dkms.spec"
	cat >>"$tmp/dkms.spec" <<-END
		* $(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y') $MAINTAINER - $VERSION-$RELEASE
		- See CHANGES.md in the documentation.
	END
	if [ "${RPM_DISTRO-}" = suse ]; then set -- --define "suse_version 1600"; else set -- --undefine suse_version; fi
	for define in "_topdir $tmp" "_tmppath $tmp" "_dbpath $tmp/db" "_rpmdir $tmp/rpm" "_rpmfilename %{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm" \
		"dist %{nil}" "packager $MAINTAINER" "_buildhost localhost" "_binary_payload w19.zstdio" "_binary_filedigest_algorithm 8" \
		"use_source_date_epoch_as_buildtime 1" "clamp_mtime_to_source_date_epoch 1" "build_mtime_policy clamp_to_source_date_epoch"; do
		set -- "$@" --define "$define"
	done
	quietly rpmbuild -bb --build-in-place --nodeps --buildroot "$tmp/stage" --target "$arch-linux" "$@" "$tmp/dkms.spec"
	for file in "$tmp"/rpm/*; do
		mv "$file" "$BIN"
		echo "$BIN/${file##*/}"
	done
}

case $format in
deb | rpm) "$format" ;;
*) echo "usage: build.sh deb|rpm" >&2 && exit 2 ;;
esac
