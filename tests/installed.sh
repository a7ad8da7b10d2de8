#!/usr/bin/env bash
# Run Python, with these arguments, where onionmx is the installed wheel: in an environment of its own, and in a copy of
# this folder without onionmx/, so that what the wheel lacks is missing there too. Tests marked "source" are left out.
# After `make setup`.
set -euo pipefail
shopt -s extglob
cd "$(dirname "${BASH_SOURCE[0]}")/.."
project=$PWD
work=$(mktemp -d /tmp/onionmx-installed.XXXXXX)
trap 'rm -rf "$work"' EXIT
chmod 0755 "$work" # what root runs is another user when it reads the rest of itself

.venv/bin/python -m hatchling build -t wheel -d "$work"
.venv/bin/python -m venv "$work/venv"
python=$work/venv/bin/python
install() {
  ENABLE_DJB_HASH_CEXT=0 "$python" -m pip install -qq --disable-pip-version-check --constraint constraints.txt "$@"
}
install --upgrade pip setuptools wheel hatchling
install --no-build-isolation "$(echo "$work"/onionmx-*.whl)[test]"

mkdir "$work/project"
cp -r !(onionmx|build|dist) "$work/project"
ln -s "$project/.debian" "$work/project"
cd "$work/project"
"$python" -c 'import sys, onionmx; sys.exit(not onionmx.__file__.startswith(sys.prefix) and onionmx.__file__)'
PYTEST_ADDOPTS="-m 'not source'" "$python" "$@"
