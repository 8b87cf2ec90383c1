#!/bin/sh
# archive.sh: the archives that a release is packaged from, in BIN: the sources
# as committed, dkms-VERSION.tar.xz, and what they link, to build without the
# network, dkms-VERSION-vendor.tar.xz. Both unpack into dkms-VERSION. Run it by
# "make source". The same commit gives the same bytes.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p "$BIN"
bin=$(cd "$BIN" && pwd) name=dkms-$VERSION
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

git archive --format=tar --prefix="$name/" HEAD >"$tmp/sources.tar"
tar -x -f "$tmp/sources.tar" -C "$tmp"
(cd "$tmp/$name" && "$GO" mod vendor)
tar -c -f "$tmp/vendor.tar" -C "$tmp" --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX \
	--mtime="@$(git log -1 --format=%ct)" "$name/vendor"
for part in sources vendor; do
	suffix=-$part
	[ $part = vendor ] || suffix=''
	xz -9 -T1 <"$tmp/$part.tar" >"$tmp/$part.tar.xz"
	mv "$tmp/$part.tar.xz" "$bin/$name$suffix.tar.xz"
	echo "$BIN/$name$suffix.tar.xz"
done
