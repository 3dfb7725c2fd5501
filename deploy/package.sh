#!/usr/bin/env bash
# Builds a Debian package of the tree, as it is committed, for the Debian that this runs on:
#
#   deploy/package.sh [FOLDER]     → FOLDER/hone_VERSION_ARCH.deb (FOLDER: build-package)
#
# `apt install ./build-package/hone_*.deb` installs it, starts the service, and does the same for an upgrade. HONE_PACKAGE_REVISION
# (1) tells builds of one version apart.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/common.sh
ROOT=$PWD
OUT=$(mkdir -p "${1:-build-package}" && cd "${1:-build-package}" && pwd)
VERSION=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
REVISION=${HONE_PACKAGE_REVISION:-1}
# A version that is not released yet comes before the release.
grep -q "^## \[$VERSION\] - unreleased" CHANGELOG.md && VERSION="$VERSION~git$(git log -1 --format=%cd --date=format:%Y%m%d%H%M)"

install_packages
for tool in debhelper fakeroot lintian; do
    dpkg -s $tool >/dev/null 2>&1 || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $tool >/dev/null
done

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK/hone"
git archive HEAD | tar -x -C "$WORK/hone"
cp -r deploy/debian "$WORK/hone/debian"
cat >"$WORK/hone/debian/changelog" <<END
hone ($VERSION+$REVISION) unstable; urgency=medium

  * Built from $(git describe --always --abbrev=12); CHANGELOG.md says what is new.

 -- The Hone authors <hone@lists.example.org>  $(git log -1 --format=%cD)
END
(cd "$WORK/hone" && SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) dpkg-buildpackage -us -uc -b -d >"$WORK/log" 2>&1) || { tail -40 "$WORK/log" >&2; exit 1; }
cp "$WORK"/hone_*.deb "$OUT"/
lintian --fail-on error,warning "$OUT/hone_$VERSION+$REVISION"_*.deb
ls "$OUT/hone_$VERSION+$REVISION"_*.deb
