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
# Packages are the same for the same commit, whenever they are made.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
ARCH=$("$GO" env GOARCH)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
STAGE=$tmp/stage
export ARCH STAGE VERSION RELEASE MAINTAINER SOURCE_DATE_EPOCH

# Neither has a use for scripts of OpenRC: on Debian other programs take
# whatever is in /etc/init.d for theirs, Fedora and openSUSE do not have it.
case $format in
deb) distro=debian ;;
rpm) distro=${RPM_DISTRO:-fedora} ;;
*) echo "usage: build.sh deb|rpm" >&2 && exit 2 ;;
esac
"$MAKE" -s --no-print-directory install DESTDIR="$STAGE" DISTRO="$distro" OPENRC= BIN="$BIN" >/dev/null

doc=$STAGE/usr/share/doc/dkms
if [ "$format" = deb ]; then
	# zsh looks there for what packages bring.
	mkdir "$STAGE/usr/share/zsh/vendor-completions"
	mv "$STAGE/usr/share/zsh/site-functions/_dkms" "$STAGE/usr/share/zsh/vendor-completions"
	rmdir "$STAGE/usr/share/zsh/site-functions"
	install -m 644 dist/package/deb/copyright dist/package/deb/README.Debian "$doc"
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
fi
gzip -9n "$STAGE"/usr/share/man/man?/*
find "$STAGE" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# nfpm runs here whatever the package is for. It prints a line for each file.
mkdir -p "$BIN"
if ! GOOS='' GOARCH='' "$GO" run "$NFPM" package --config dist/package/nfpm.yaml \
	--packager "$format" --target "$BIN" >"$tmp/log" 2>&1; then
	cat "$tmp/log" >&2
	exit 1
fi
sed -n 's/^created package: //p' "$tmp/log"
