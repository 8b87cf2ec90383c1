#!/bin/sh
# build.sh deb|rpm: packs what "make install" lays down, with nfpm. Run it by
# "make deb" or "make rpm", which say what VERSION, RELEASE, BIN, NFPM, GO and
# MAKE are. GOARCH=arm64 makes the packages of that architecture.
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
STAGE=$tmp/stage DOCS=$tmp/docs
# Debian's names of architectures, and of the kernels for them.
case $ARCH in
386) HEADERS=686-pae ;;
arm) HEADERS=armmp ;;
ppc64le) HEADERS=powerpc64le ;;
*) HEADERS=$ARCH ;;
esac
RPM_HEADERS='(kernel-devel-matched if kernel-core)' RPM_LIBELF=elfutils-libelf-devel
if [ "${RPM_DISTRO-}" = suse ]; then RPM_HEADERS=kernel-syms RPM_LIBELF=libelf-devel; fi
export ARCH STAGE VERSION RELEASE MAINTAINER HOMEPAGE VCS HEADERS RPM_HEADERS RPM_LIBELF SOURCE_DATE_EPOCH

# Neither has a use for scripts of OpenRC: on Debian other programs take
# whatever is in /etc/init.d for theirs, Fedora and openSUSE do not have it.
case $format in
deb) distro=debian ;;
rpm) distro=${RPM_DISTRO:-fedora} ;;
*) echo "usage: build.sh deb|rpm" >&2 && exit 2 ;;
esac
"$MAKE" -s --no-print-directory install DESTDIR="$STAGE" DISTRO="$distro" OPENRC= BIN="$BIN" >/dev/null

cp dist/package/nfpm.yaml "$tmp"
doc=$STAGE/usr/share/doc/dkms
if [ "$format" = deb ]; then
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
	gzip -9n "$doc/changelog" "$doc/changelog.Debian"
else
	install -m 644 CHANGES.md "$doc"
	install -D -m 644 LICENSE "$STAGE/usr/share/licenses/dkms/LICENSE"
	mv "$doc/licenses.txt" "$STAGE/usr/share/licenses/dkms"
	cat >>"$tmp/nfpm.yaml" <<-END
		license: Apache-2.0 AND 0BSD AND BSD-3-Clause AND MIT
		changelog: $tmp/changelog.yaml
	END
	cat >"$tmp/changelog.yaml" <<-END
		- semver: $VERSION-$RELEASE
		  date: $(date -u -d "@$SOURCE_DATE_EPOCH" +%FT%TZ)
		  packager: $MAINTAINER
		  changes:
		    - note: See CHANGES.md in the documentation.
	END
fi
gzip -9n "$STAGE"/usr/share/man/man?/*
if [ "$format" = rpm ]; then
	# rpm wants to know what is documentation, and nfpm every file of it.
	mkdir "$DOCS"
	for dir in doc man licenses; do mv "$STAGE/usr/share/$dir" "$DOCS"; done
	find "$DOCS" -type f | sort | while read -r file; do
		to=${file#"$DOCS"/} type=doc
		case $to in licenses/*) type=license ;; esac
		echo "  - {src: $file, dst: /usr/share/$to, type: $type}"
	done >"$tmp/docs.yaml"
	sed -i "/^contents:/r $tmp/docs.yaml" "$tmp/nfpm.yaml"
fi
find "$tmp" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# nfpm runs here whatever the package is for. It prints a line for each file.
mkdir -p "$BIN"
if ! GOOS='' GOARCH='' "$GO" run "$NFPM" package --config "$tmp/nfpm.yaml" \
	--packager "$format" --target "$BIN" >"$tmp/log" 2>&1; then
	cat "$tmp/log" >&2
	exit 1
fi
sed -n 's/^created package: //p' "$tmp/log"
