#!/usr/bin/env bash
# The Debian package in a fresh Debian 12 of its own (debootstrap, a chroot; needs root, some minutes and the network):
#
#   tests/tools/package_check.sh
#
# install → the service's own start command → a job → an upgrade while a trainer runs → remove → purge. There is no systemd in a
# chroot: what it would do (start, stop with its signal, start again) is done here by the unit's own lines.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/common.sh
PORT=4671
URL=http://127.0.0.1:$PORT
WORK=$(mktemp -d)
ROOT=$WORK/debian
DAEMON=
cleanup() {
    [ -n "$DAEMON" ] && kill "$DAEMON" 2>/dev/null && wait "$DAEMON" || true
    for mount in dev proc; do mountpoint -q "$ROOT/$mount" && umount -l "$ROOT/$mount"; done
    rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT
say() { echo "== $*"; }
inside() { chroot "$ROOT" env DEBIAN_FRONTEND=noninteractive "$@"; }
get() { curl -sSf "$URL$1"; }

[ "$(id -u)" = 0 ] || { echo "package_check.sh needs root, for the chroot" >&2; exit 2; }
command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >/dev/null
say "two builds of the package"
FIRST=$(deploy/package.sh "$WORK/first" | tail -1)
SECOND=$(HONE_PACKAGE_REVISION=2 deploy/package.sh "$WORK/second" | tail -1)
say "a fresh Debian 12"
debootstrap --variant=minbase bookworm "$ROOT" "${HONE_DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$WORK/log" 2>&1 || { tail -5 "$WORK/log" >&2; exit 1; }
mount -t proc proc "$ROOT/proc"
mount --bind /dev "$ROOT/dev"
printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d" && chmod +x "$ROOT/usr/sbin/policy-rc.d" # no service is started by the install
cp "$FIRST" "$SECOND" "$ROOT/root/"
mkdir -p "$ROOT/srv/models"
(cd tests/e2e && "$CACHE/venv/bin/python" -c "
import pathlib, random, tiny
tiny.bert(pathlib.Path('$ROOT/srv/models/bert'))
pathlib.Path('$WORK/train.tsv').write_text(tiny.labelled(random.Random(1), 400))" >/dev/null 2>&1)

say "install"
inside apt-get update -qq
inside apt-get install -y -qq "/root/$(basename "$FIRST")" >"$WORK/log" 2>&1 || { tail -20 "$WORK/log" >&2; exit 1; }
for file in usr/bin/honed lib/systemd/system/honed.service etc/honed.conf usr/share/man/man1/honed.1.gz; do
    [ -e "$ROOT/$file" ] || { echo "the package has no /$file" >&2; exit 1; }
done
inside systemctl is-enabled honed.service 2>/dev/null || [ -L "$ROOT/etc/systemd/system/multi-user.target.wants/honed.service" ]
printf 'listen = 127.0.0.1:%s\nstate = /var/lib/hone\nmodel_dirs = /srv/models\n' $PORT >>"$ROOT/etc/honed.conf"

start() {
    local command
    command=$(sed -n 's/^ExecStart=//p' "$ROOT/lib/systemd/system/honed.service")
    # shellcheck disable=SC2086
    chroot "$ROOT" $command >>"$WORK/daemon" 2>&1 &
    DAEMON=$!
    for _ in $(seq 100); do get /readyz >/dev/null 2>&1 && return; sleep 0.1; done
    tail -20 "$WORK/daemon" >&2
    exit 1
}
stop() { kill "$DAEMON" && wait "$DAEMON" || true; DAEMON=; }
status() { get "/jobs/$1" | jq -r .status; }
await() { # job status
    for _ in $(seq 600); do
        [ "$(status "$1")" = "$2" ] && return
        sleep 0.2
    done
    get "/jobs/$1" | jq -c '[.status,.status_reason]' >&2
    exit 1
}
submit() { curl -sSf "$URL/jobs" -F model=bert -F dataset=@"$WORK/train.tsv" -F "hyperparameters=$1" | jq -r .id; }

say "the service's start command, and a job"
start
curl -sSf "$URL/models" -H 'Content-Type: application/json' -d '{"name":"bert","path":"/srv/models/bert"}' >/dev/null
JOB=$(submit '{"max_steps":5}')
await "$JOB" succeeded
say "an upgrade while a trainer runs"
LONG=$(submit '{"max_steps":3000,"save_every":50,"eval_every":1000}')
await "$LONG" running
OLD=$(inside dpkg-query -W -f '${Version}' hone)
inside dpkg -i "/root/$(basename "$SECOND")" >"$WORK/log" 2>&1 || { tail -20 "$WORK/log" >&2; exit 1; }
[ "$(inside dpkg-query -W -f '${Version}' hone)" != "$OLD" ]
grep -q "model_dirs = /srv/models" "$ROOT/etc/honed.conf" # changed settings are kept
stop
start
await "$LONG" succeeded
[ "$(status "$JOB")" = succeeded ]
inside honed check --state /var/lib/hone | tail -1
stop
say "remove, purge"
inside apt-get remove -y -qq hone >"$WORK/log" 2>&1
[ ! -e "$ROOT/usr/bin/honed" ] && [ -e "$ROOT/var/lib/hone/hone.db" ] && [ -e "$ROOT/etc/honed.conf" ]
inside apt-get purge -y -qq hone >"$WORK/log" 2>&1
[ ! -e "$ROOT/var/lib/hone" ] && [ ! -e "$ROOT/etc/honed.conf" ]
say "the package is sound"
