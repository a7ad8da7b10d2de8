#!/usr/bin/env bash
# Provide the Debian programs that the end-to-end tests and the demo run. Safe to repeat; quick when nothing is missing.
#
# Daemons are only unpacked into .debian/ of the project, never installed: an installed package would start a daemon,
# and an MTA package would remove the MTA this machine has. Libraries and plain tools come from apt in the usual way.
# With the argument "browser" it installs Chromium instead, which only tests need, and which is large.
# PYTHON names the interpreter that will make the virtual environment (default: python3).
set -euo pipefail

# "A|B" is the first of the two that this release has. Debian 13 brought Valkey, testing took keymgr out of knot.
daemons=(tor exim4-daemon-light exim4-daemon-heavy postfix postfix-cdb knot 'knot-keymgr|knot' unbound bind9)
daemons+=('valkey-server|redis-server' 'valkey-tools|redis-tools' dnsmasq-base)
daemons+=('promtool|prometheus') # for promtool, which checks the alert rules; a package of its own from Debian 13 on
# Programs and libraries of the same build as BIND, which refuses any other: the machine may have older ones.
companions=(bind9-libs bind9-utils bind9-dnsutils)
companions+=(exim4-config) # the files that setup changes
unpack=("${daemons[@]}" "${companions[@]}")
binaries=(usr/bin/tor usr/bin/tor-gencert usr/sbin/exim4 usr/sbin/knotd usr/sbin/knotc usr/sbin/unbound)
binaries+=('usr/sbin/keymgr|usr/bin/keymgr')
binaries+=(usr/sbin/postfix usr/sbin/postconf usr/sbin/postqueue usr/sbin/smtp-source usr/lib/postfix/sbin/master)
binaries+=(heavy/usr/sbin/exim4)
binaries+=('usr/bin/valkey-server|usr/bin/redis-server')
binaries+=(usr/sbin/named usr/bin/named-checkzone usr/bin/nsupdate usr/sbin/dnsmasq usr/bin/promtool)
# procps: the units reload by /bin/kill, which systemd-analyze looks for.
# netbase: Exim and Postfix look smtp up in /etc/services, which a minimal Debian 12 does not have.
tools=(netbase tinycdb knot-dnsutils dnsperf libnet-dns-perl perl torsocks libsasl2-modules systemd procps groff-base)
tools+=(age openssl) # what onionmx onion backup runs
tools+=(git openssh-client) # what make release runs
tools+=(w3m) # which shows the page of serve as text
tools+=(curl) # which the bench sends large messages with, beside the relay

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
unpacked=$project/.debian
stamp=$unpacked/.stamp
attempts=3

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

type apt-get dpkg-deb >/dev/null 2>&1 ||
  die "this script needs Debian's apt-get and dpkg-deb; elsewhere install ${unpack[*]} ${tools[*]} by hand"

wanted="unpacked: ${unpack[*]}; tools: ${tools[*]}"

# Debian splits ensurepip, which "python -m venv" needs, out of its own Python.
has_venv() { "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null; }
has_venv || tools+=(python3-venv)

installed() { # PACKAGE... : are all of them installed?
  local states
  # shellcheck disable=SC2016  # the braces belong to dpkg-query
  states=$(dpkg-query -W -f '${db:Status-Status}\n' "$@" 2>/dev/null) || return 1
  ! grep -qvx installed <<<"$states"
}

first() { # TEST A|B : print the first alternative that passes TEST, a function of one argument
  local alternative alternatives
  IFS='|' read -r -a alternatives <<<"$2"
  for alternative in "${alternatives[@]}"; do "$1" "$alternative" && printf '%s\n' "$alternative" && return; done
  return 1
}

is_unpacked() { [ -x "$unpacked/$1" ]; }

is_offered() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

complete() { # does the stamp fit this list, this machine and this folder?
  local list packages binary
  [ -r "$stamp" ] || return 1
  { read -r list && read -r -a packages; } <"$stamp" || return 1
  [ "$list" = "$wanted" ] && has_venv || return 1
  for binary in "${binaries[@]}"; do first is_unpacked "$binary" >/dev/null || return 1; done
  installed "${packages[@]}"
}

retry() { # COMMAND... : mirrors fail now and then, and another apt may hold the lock
  local try
  for ((try = 1; try <= attempts; try++)); do
    "$@" && return
    [ "$try" -eq "$attempts" ] || { say "failed, trying again: $*" && sleep $((try * 3)); }
  done
  return 1
}

may_be_root() { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

apt_get() { # as_root passes no environment on, so env sets it
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq \
    -o Acquire::Retries=2 -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"
}

libraries() { # DEB... : the library packages these packages depend on, first choice of each alternative
  local deb
  for deb in "$@"; do dpkg-deb -f "$deb" Depends Pre-Depends; done |
    sed 's/^[A-Za-z-]*: //' | tr ',' '\n' | sed 's/|.*//; s/(.*//; s/:.*//; s/ //g' |
    grep -E '^(lib|zlib1g$)' | grep -v '^libjs-' | sort -u # those are scripts of web pages
}

if [ "${1:-}" = browser ]; then
  type chromium >/dev/null 2>&1 && exit
  may_be_root || die "neither root nor sudo is there to install chromium"
  say "installing chromium"
  retry apt_get -o APT::Update::Error-Mode=any update || say "could not refresh the package lists"
  retry apt_get install --yes --no-install-recommends --no-remove chromium >/dev/null
  exit
fi

complete && exit
mkdir -p "$unpacked"
exec 9>"$unpacked/.lock"
flock 9
complete && exit # another run did the work while this one waited

if may_be_root; then
  say "refreshing the package lists"
  retry apt_get -o APT::Update::Error-Mode=any update || say "could not refresh them, going on with the old ones"
fi

mapfile -t unpack < <(for package in "${unpack[@]}"; do first is_offered "$package" || echo "$package"; done | awk '!seen[$0]++')
archives=$(mktemp -d)
trap 'rm -rf "$archives"' EXIT
say "fetching ${unpack[*]}"
# The sandbox user could not write to this folder; apt says so at length and then does the same.
(cd "$archives" && retry apt-get -qq -o Acquire::Retries=2 -o APT::Sandbox::User="$(id -un)" download "${unpack[@]}") ||
  die "could not fetch ${unpack[*]}"
mapfile -t needed < <(libraries "$archives"/*.deb)
needed+=("${tools[@]}")

if ! installed "${needed[@]}"; then
  may_be_root || die "neither root nor sudo is there to install: ${needed[*]}"
  say "installing the libraries they need, and ${tools[*]}"
  # --no-remove: rather fail than take anything away from this machine.
  retry apt_get install --yes --no-install-recommends --no-upgrade --no-remove "${needed[@]}" >"$archives/log" 2>&1 || {
    cat "$archives/log" >&2
    die "could not install: ${needed[*]}"
  }
fi

for deb in "$archives"/*.deb; do
  case $deb in
    # The same paths as exim4-daemon-light: the tests run both.
    */exim4-daemon-heavy_*) dpkg-deb -x "$deb" "$unpacked/heavy" ;;
    # Half of it is the server.
    */promtool_* | */prometheus_*) dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$unpacked" ./usr/bin/promtool ;;
    *) dpkg-deb -x "$deb" "$unpacked" ;;
  esac
done
# Postfix keeps libraries of its own in a folder that the loader does not search; BIND's are unpacked, not installed.
own=("$unpacked"/usr/lib/postfix "$unpacked"/usr/lib/*/)
LD_LIBRARY_PATH=$(IFS=: && echo "${own[*]}")
export LD_LIBRARY_PATH
# A program outside apt's care gets no updates, so it gets no setuid bit either; the tests run it without.
find "$unpacked" -perm /6000 -type f -exec chmod ug-s {} +
for binary in "${binaries[@]}"; do
  found=$(first is_unpacked "$binary") || die "the packages hold no $binary"
  if missing=$(ldd "$unpacked/$found" | grep 'not found'); then
    die "$found lacks a library that its package does not name: $missing"
  fi
done
printf '%s\n%s\n' "$wanted" "${needed[*]}" >"$stamp"
say "done: ${unpack[*]} are in $unpacked, nothing was started"
