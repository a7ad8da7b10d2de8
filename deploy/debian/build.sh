#!/usr/bin/env bash
# Build dist/onionmx_VERSION_ARCHITECTURE.deb for the Debian release that this runs on, with that release's Python.
#
# Twice from the same commit on the same release it is the same bytes. SOURCE_DATE_EPOCH dates everything in it; it is
# the time of the last commit by default. No compiler is needed.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 PIP_DISABLE_PIP_VERSION_CHECK=1

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=/usr/bin/python3 # the one that the package will depend on
tools=(binutils dpkg-dev python3-venv)
build_tools=(pip setuptools wheel hatchling editables)

say() { printf 'deb: %s\n' "$*"; }
die() {
  printf 'deb: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "neither root nor sudo is there to install: ${tools[*]}"
  fi
}

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=2 -o DPkg::Lock::Timeout=120 \
    -o Dpkg::Use-Pty=0 "$@"
}

commit_time() { # of the commit that is built; git need not own the folder
  git -c safe.directory="$project" -C "$project" log -1 --format=%ct
}

cd "$project"
type apt-get dpkg-deb >/dev/null 2>&1 || die "this needs Debian's apt-get and dpkg-deb"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(commit_time)} || die "set SOURCE_DATE_EPOCH: there is no commit to take it from"
export SOURCE_DATE_EPOCH

work=$(mktemp -d /tmp/onionmx-deb.XXXXXX) # short: the kernel limits the length of the first line of a script
trap 'rm -rf "$work"' EXIT
if ! dpkg-query -W -f '${db:Status-Status}\n' "${tools[@]}" 2>/dev/null | grep -c '^installed$' |
  grep -qx "${#tools[@]}"; then
  say "installing ${tools[*]}"
  apt_get update || say "could not refresh the package lists, going on with the old ones"
  apt_get install --yes --no-install-recommends --no-upgrade --no-remove "${tools[@]}" >"$work/apt" 2>&1 || {
    cat "$work/apt" >&2
    die "could not install: ${tools[*]}"
  }
fi

say "building the wheels"
"$python" -m venv "$work/build"
"$work/build/bin/pip" install -qq --constraint constraints.txt --upgrade "${build_tools[@]}"
ENABLE_DJB_HASH_CEXT=0 "$work/build/bin/pip" wheel -qq --no-build-isolation --constraint constraints.txt \
  --wheel-dir "$work/wheels" .

say "making the private environment"
private=$work/root/usr/lib/onionmx
"$python" -m venv --without-pip "$private"
"$work/build/bin/pip" --python "$private/bin/python3" install -qq --no-index --no-deps --no-compile "$work"/wheels/*.whl
# auditwheel has moved parts of the bundled *.libs about, and strip would break them.
find "$private" -name '*.so' ! -path '*.libs/*' -exec strip --strip-unneeded {} +
mkdir "$work/debian"
printf 'Source: onionmx\n\nPackage: onionmx\nArchitecture: any\n' >"$work/debian/control"
libraries=$(cd "$work" && find "$private" -name '*.so*' -type f -exec dpkg-shlibdeps -O --ignore-missing-info {} + \
  2>"$work/shlibdeps") || { cat "$work/shlibdeps" >&2 && die "could not tell which libraries are needed"; }

say "assembling the package"
architecture=$(dpkg --print-architecture)
version=$("$private/bin/python3" -m deploy.debian.assemble "$work/root" "$architecture" "${libraries#shlibs:Depends=}")
find "$work/root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p dist
package=dist/onionmx_${version}_$architecture.deb
# As many threads as there are processors would make the result depend on their number.
DPKG_DEB_THREADS_MAX=1 dpkg-deb --root-owner-group --uniform-compression -Zxz --build "$work/root" "$work/package" >"$work/log" ||
  { cat "$work/log" >&2 && die "dpkg-deb failed"; }
rm -f dist/onionmx_*.deb # of other versions: `apt install ./dist/onionmx_*.deb` takes one
mv "$work/package" "$package"
say "done: $package"
