#!/bin/sh
# A hook of mmdebstrap, for build.sh: write the root of the image as a tar to the standard output.
#
#   lay_out.sh ROOT WORK
#
# ROOT has the archives of all packages that apt would install. No script of a package runs, so nothing is in the image
# but files of packages, and the few that are written here. WORK has the package of onionmx.
set -eu
umask 022
root=$1
work=$2
image=$root/image

# What the programs in the image load. The other dependencies are for installing: adduser, debconf, perl, PAM.
is_wanted() {
  case $1 in
    libacl1 | libattr1 | libaudit* | libbsd0 | libcap-ng0 | libdb5* | libdebconfclient0 | libgmp10 | libmd0) return 1 ;;
    libpam* | libpcre2* | libselinux1 | libsemanage* | libsepol*) return 1 ;;
    lib* | zlib1g | gcc-*-base | python3* | base-files | ca-certificates | dash | netbase | tor | tzdata) return 0 ;;
    *) return 1 ;;
  esac
}

mkdir -p "$image/usr/bin" "$image/usr/sbin" "$image/usr/lib" "$image/usr/lib64"
for folder in bin sbin lib lib64; do
  ln -s "usr/$folder" "$image/$folder"
done
: >"$root/packages"
for archive in "$root"/var/cache/apt/archives/*.deb "$work/onionmx.deb"; do
  name=$(dpkg-deb --field "$archive" Package)
  if [ "$name" = onionmx ] || is_wanted "$name"; then
    dpkg-deb --fsys-tarfile "$archive" | tar --extract --keep-directory-symlink --directory="$image"
    echo "$name $(dpkg-deb --field "$archive" Version) $(dpkg-deb --field "$archive" Architecture)" >>"$root/packages"
  fi
done
[ -e "$image/usr/bin/sh" ] || ln -s dash "$image/usr/bin/sh"

# For the same user in every container; each sees its own folders alone.
cat >"$image/etc/passwd" <<END
root:x:0:0:root:/nonexistent:/usr/sbin/nologin
onionmx:x:65534:65534:onionmx and tor:/nonexistent:/usr/sbin/nologin
END
printf 'root:x:0:\nonionmx:x:65534:\n' >"$image/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n' >"$image/etc/nsswitch.conf"
mkdir -p "$image/etc/ssl/certs"
cat "$image"/usr/share/ca-certificates/mozilla/*.crt >"$image/etc/ssl/certs/ca-certificates.crt"
install -m 0755 "$work/deploy/image/health.py" "$image/usr/bin/onionmx-health"
mkdir -p "$image/usr/lib/ssl" && ln -sf /etc/ssl/certs/ca-certificates.crt "$image/usr/lib/ssl/cert.pem"
# A new volume takes owner and mode of what is at its place in the image.
for folder in run/onionmx-tor var/lib/tor var/lib/onionmx var/lib/onionmx-relay var/lib/onionmx-serve; do
  mkdir -p "$image/$folder" && chown 65534:65534 "$image/$folder" && chmod 0700 "$image/$folder"
done

# For installing, for other programs, for people at a terminal; licences stay.
(
  cd "$image"
  rm -rf boot home media mnt opt srv root var/cache var/log var/mail var/spool var/opt var/local var/backups usr/games \
    usr/include usr/local usr/src usr/share/ca-certificates usr/share/locale usr/share/man usr/share/info \
    usr/share/lintian usr/share/bash-completion usr/share/zsh usr/share/fish usr/share/applications usr/share/pixmaps \
    usr/share/menu usr/share/doc-base usr/share/bug usr/share/binfmts usr/share/polkit-1 usr/share/readline \
    usr/share/runit usr/share/python3 usr/share/dict usr/share/debianutils usr/share/base-files var/lib/dpkg \
    var/lib/misc usr/lib/systemd usr/lib/sysusers.d usr/lib/tmpfiles.d \
    usr/lib/valgrind usr/lib/init usr/lib/binfmt.d usr/lib/mime usr/libexec etc/apt etc/apparmor.d etc/cron.* \
    etc/default etc/dpkg etc/init.d etc/logrotate.d etc/runit etc/skel etc/sv etc/update-motd.d etc/profile.d \
    etc/ca-certificates* etc/alternatives usr/sbin/update-ca-certificates usr/lib/python3*/ensurepip \
    usr/lib/python3*/idlelib usr/lib/python3*/lib2to3 usr/lib/python3*/pydoc_data usr/lib/python3*/turtledemo
  find usr/share/doc -type f ! -path 'usr/share/doc/onionmx/*' ! -name copyright -delete
  find usr/share/doc -type l ! -path 'usr/share/doc/onionmx/*' ! -exec test -e {} \; -delete
  find . -type f -perm /6000 -exec chmod ug-s {} +
)

# Where the image cannot be written no Python keeps what it compiles. With a seed of its own each run would write sets
# in another order, and before Python 3.12 with None at another address.
PYTHONHASHSEED=0 setarch -R chroot "$image" /usr/bin/python3 -s -P -W ignore -m compileall -q \
  --invalidation-mode unchecked-hash /usr/lib >&2
bill=$image/usr/share/doc/onionmx/image.cdx.json
(cd "$work" && python3 -B -m deploy.image.sbom "$image" "$root/packages") >"$bill"
# A library too few shows here, not in a container.
for program in onionmx onionmx-route tor; do
  chroot "$image" "/usr/bin/$program" --version >&2
done
mkdir -p "$image/dev" "$image/proc" "$image/sys" "$image/tmp" "$image/var/tmp" "$image/etc/onionmx"
chmod 1777 "$image/tmp" "$image/var/tmp"
tar --create --directory="$image" --sort=name --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu .
