#!/usr/bin/env bash
# ./dev fresh VERB [ARGUMENT...]: runs `./dev VERB` from a clean clone in a bare Debian 12, so that a
# missing install step shows. Needs root (debootstrap, chroot). The bare system is made once, kept
# untouched below .cache/fresh/bare, and copied for each run.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

[ $# -ge 1 ] || { echo "./dev fresh demo|test [ARGUMENT...]" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "./dev fresh makes a bare Debian by debootstrap: run it as root" >&2; exit 3; }
top=$PWD
bare=$top/.cache/fresh/bare
run=$top/.cache/fresh/run.$$
log=$top/build/logs/fresh.log
mkdir -p "$top/build/logs" "$top/.cache/fresh"

# The machine's own mirror: first Debian archive that apt knows.
# shellcheck disable=SC2016  # $(SITE) is apt-get's own word.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/\?$' || true)
mirror=${mirror:-http://deb.debian.org/debian}

if [ ! -f "$bare/.complete" ]; then
  rm -rf "$bare"
  echo "Making a bare Debian 12 from $mirror (log: build/logs/fresh.log)"
  debootstrap --variant=minbase bookworm "$bare" "$mirror" >"$log" 2>&1 || { tail -n 20 "$log" >&2; exit 3; }
  touch "$bare/.complete"
fi

finish() {
  # What runs in there is in a PID namespace of its own and ended with it; mounts go with theirs.
  rm -rf --one-file-system "$run"
}
trap finish EXIT
cp -a "$bare" "$run"
# Sources and proxies of this machine, so that the same archive answers; nothing else of it.
rm -rf "$run/etc/apt/sources.list" "$run/etc/apt/sources.list.d"
cp -a /etc/apt/sources.list.d "$run/etc/apt/"
[ ! -f /etc/apt/sources.list ] || cp -a /etc/apt/sources.list "$run/etc/apt/"
[ ! -d /etc/apt/apt.conf.d ] || cp -a /etc/apt/apt.conf.d/. "$run/etc/apt/apt.conf.d/"
[ ! -d /etc/apt/keyrings ] || cp -a /etc/apt/keyrings "$run/etc/apt/"
[ ! -d /usr/local/share/ca-certificates ] || cp -a /usr/local/share/ca-certificates "$run/usr/local/share/"
[ ! -d /etc/ssl/certs ] || { mkdir -p "$run/etc/ssl"; cp -aL /etc/ssl/certs "$run/etc/ssl/"; }
cp -L /etc/resolv.conf /etc/hosts "$run/etc/"
# A clean clone of what is committed, with every pinned commit in it.
mkdir -p "$run/src"
git -c safe.directory='*' clone -q --no-hardlinks "file://$top" "$run/src/everspan"
[ -z "$(git status --porcelain)" ] || echo "Note: what is not committed is not tested"
commit=$(git rev-parse HEAD)
git -C "$run/src/everspan" checkout -q "$commit"

# An environment of its own: only what names a proxy passes.
keep=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || keep+=("$name=${!name}")
done
# shellcheck disable=SC2016  # Expanded by the inner shell.
unshare --mount --pid --fork --kill-child --propagation private bash -c '
  set -e
  run=$1; shift
  mount -t proc proc "$run/proc"
  mount --rbind /dev "$run/dev"
  mount -t tmpfs -o mode=1777 tmpfs "$run/tmp"
  exec chroot "$run" "$@"
' fresh "$run" /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  LANG=C.UTF-8 TERM="${TERM:-dumb}" ${keep[@]+"${keep[@]}"} /src/everspan/dev "$@"
