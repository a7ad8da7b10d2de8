#!/usr/bin/env bash
# Build the image localhost/onionmx:VERSION as an ordinary user, without docker, root or a registry of images.
#
# It has Debian's tor and Python of the release that this runs on, the package of `make deb`, and a shell: no package
# manager, no setuid file, no configuration, no key. Twice from the same packages it has the same digest.
#   PACKAGE            the package to put in (default: the one in dist/; without one it is built first)
#   IMAGE              name and tag (default: localhost/onionmx:VERSION)
#   MIRROR, SECURITY   of Debian (default: http://deb.debian.org/debian and .../debian-security)
#   SOURCE_DATE_EPOCH  dates everything in it (default: the time of the last commit)
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$project/deploy/image
# What mmdebstrap fetches; lay_out.sh says what of it stays.
include=(base-files ca-certificates dash netbase python3 tor tzdata)

say() { printf 'image: %s\n' "$*"; }
die() {
  printf 'image: %s\n' "$*" >&2
  exit 1
}
git_of_project() { git -c safe.directory="$project" -C "$project" "$@"; }

[ "$(id -u)" -ne 0 ] || die "run it as an ordinary user: nothing in it needs root"
for program in buildah:buildah mmdebstrap:mmdebstrap newuidmap:uidmap dpkg-deb:dpkg python3:python3; do
  command -v "${program%:*}" >/dev/null || die "${program%:*} is missing: sudo apt-get install ${program#*:}"
done
grep -q "^$(id -un):" /etc/subuid || die "$(id -un) has no subordinate users: sudo usermod --add-subuids \
100000-165535 --add-subgids 100000-165535 $(id -un)"
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$release" ] || die "/etc/os-release names no release of Debian"
mirror=${MIRROR:-http://deb.debian.org/debian}
for keyring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
  [ ! -e "$keyring" ] || break
done
[ -e "$keyring" ] || die "$keyring is missing: sudo apt-get install debian-archive-keyring"
deb="deb [signed-by=$keyring]"
sources="$deb $mirror $release main"
if (. /etc/os-release && [ -n "${VERSION_ID:-}" ]); then # testing has neither
  sources+=$'\n'"$deb $mirror $release-updates main"
  sources+=$'\n'"$deb ${SECURITY:-http://deb.debian.org/debian-security} $release-security main"
fi

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git_of_project log -1 --format=%ct)} ||
  die "set SOURCE_DATE_EPOCH: there is no commit to take it from"
export SOURCE_DATE_EPOCH
revision=$(git_of_project rev-parse HEAD 2>/dev/null || true)
if [ -z "${PACKAGE:-}" ]; then
  compgen -G "$project/dist/onionmx_*.deb" >/dev/null || "$project/deploy/debian/build.sh"
  PACKAGE=$(compgen -G "$project/dist/onionmx_*.deb")
fi
[ -f "$PACKAGE" ] || die "$PACKAGE is not a file: PACKAGE names the package of make deb"
version=$(dpkg-deb --field "$PACKAGE" Version)
image=${IMAGE:-localhost/onionmx:${version//[~+]/-}}

# Others may look in: root of the user namespace is another user.
work=$(mktemp -d "${TMPDIR:-/tmp}/onionmx-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 0755 "$work"
cp "$PACKAGE" "$work/onionmx.deb"
(cd "$project" && cp --parents deploy/image/lay_out.sh deploy/image/health.py deploy/image/sbom.py \
  release/__init__.py release/cyclonedx.py "$work")
apt-config dump Acquire | grep -v ' "";$' >"$work/apt.conf"
chmod -R go+rX "$work"

say "fetching Debian's packages for $release"
mmdebstrap --quiet --mode=unshare --variant=extract --format=null --include="$(IFS=, && echo "${include[*]}")" \
  --aptopt="$work/apt.conf" --extract-hook="'$work/deploy/image/lay_out.sh' \"\$1\" '$work' >&3" \
  "$release" - - 3>"$work/root.tar" <<<"$sources" ||
  die "mmdebstrap could not make the root"

say "building $image"
export BUILDAH_ISOLATION=chroot
build() { STORAGE_DRIVER=vfs buildah "$@"; } # which works on every file system
cp "$here/Containerfile" "$work"
made=$(build build --quiet --format docker --no-cache --identity-label=false --timestamp "$SOURCE_DATE_EPOCH" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
  --build-arg "CREATED=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" \
  --file "$work/Containerfile" "$work")
build push --quiet --disable-compression "$made" "dir:$work/made"
build rmi "$made" >/dev/null
python3 "$here/settle.py" "$work/made"
# To where podman looks: that is with another driver by default.
settled=$(buildah pull --quiet "dir:$work/made")
buildah tag "$settled" "$image"
[ -n "${IMAGE:-}" ] || buildah tag "$image" localhost/onionmx:latest # which the units of deploy/podman/ start
mkdir -p "$project/dist"
tar -xOf "$work/root.tar" ./usr/share/doc/onionmx/image.cdx.json >"$project/dist/onionmx-$version-image.cdx.json"
say "digest: sha256:$(sha256sum "$work/made/manifest.json" | cut -d' ' -f1)"
say "size: $(($(stat -c %s "$work/root.tar") / 1000000)) MB"
say "done: $image"
