"""Which secrets each unit can open: as its own user, in what it sees of the file system, as the host tries it."""

from collections.abc import Mapping

from tests.acceptance.machine import Machine, MachineError

_RUN = "/run/credentials"
_SYNC, _PUBLISH, _WATCH = "onionmx-sync.service", "onionmx-publish.service", "onionmx-watch.service"
_ONCE = (_SYNC, _PUBLISH)
_UNITS = (*_ONCE, _WATCH, *(f"onionmx-{name}.service" for name in ("relay", "serve", "echo", "guard")))
_FILES: Mapping[str, frozenset[str]] = {
    "/etc/credstore": frozenset(),
    "/etc/credstore/onionmx.store-password": frozenset(),
    "/etc/credstore/onionmx.store-key": frozenset(),
    "/etc/credstore/onionmx.tsig": frozenset(),
    f"{_RUN}/{_SYNC}": frozenset({_SYNC}),
    f"{_RUN}/{_SYNC}/onionmx.store-password": frozenset({_SYNC}),
    f"{_RUN}/{_SYNC}/onionmx.store-key": frozenset({_SYNC}),
    f"{_RUN}/{_SYNC}/onionmx.tsig": frozenset(),
    f"{_RUN}/{_PUBLISH}": frozenset({_PUBLISH}),
    f"{_RUN}/{_PUBLISH}/onionmx.tsig": frozenset({_PUBLISH}),
    f"{_RUN}/{_PUBLISH}/onionmx.store-password": frozenset(),
    # As tor's user, which it is: of a service that was made over the control port it gives tor the key back.
    "/var/lib/tor/onion-mx/hs_ed25519_secret_key": frozenset({_WATCH}),
    "/root/secret": frozenset(),
    # Else nothing could be read, and nothing would be shown.
    "/etc/hostname": frozenset(_UNITS),
}
"""Folders and files, and the units that can open them."""
_GIVEN = {
    f"{_RUN}/{_SYNC}/onionmx.store-password",
    f"{_RUN}/{_SYNC}/onionmx.store-key",
    f"{_RUN}/{_PUBLISH}/onionmx.tsig",
    f"{_RUN}/{_PUBLISH}/hostname",
}
"""All that systemd gives to units of ours."""
_WAITS = "[Service]\\nType=exec\\nExecStart=\\nExecStart=/bin/sleep infinity\\n"
_DROP_INS = " ".join(f"/run/systemd/system/{unit}.d" for unit in _ONCE)
_STATUS = 'set -- $(awk \'/^(Uid|Gid):/ {print $3} /^Groups:/ {$1 = ""; gsub(/ /, ","); print}\' /proc/$pid/status)'
_TRY = f"""\
pid=$(systemctl show -P MainPID UNIT); test "$pid" -gt 0
{_STATUS}
groups=${{3#,}}; groups=${{groups%,}}
for path in {" ".join(_FILES)}; do
    SPACES setpriv --reuid "$1" --regid "$2" --groups "${{groups:-$2}}" \
        sh -c 'if [ -d "$0" ]; then ls "$0"; else head -c 1 "$0"; fi' "$path" >/dev/null 2>&1 && echo "$path"
done
true"""


def each_unit_opens_its_own(machine: Machine) -> None:
    """Fail if a unit can open another one's secret, or cannot open its own."""
    machine.run("touch /root/secret && chmod 0600 /root/secret")
    machine.run(f"for folder in {_DROP_INS}; do mkdir -p $folder; printf '{_WAITS}' >$folder/waits.conf; done")
    machine.run(f"systemctl daemon-reload && systemctl start {' '.join(_ONCE)}")
    if (given := set(machine.read(f"find {_RUN} -path '*/onionmx*' -type f").split())) != _GIVEN:
        raise MachineError(f"systemd has given {sorted(given)}, expected {sorted(_GIVEN)}")
    for unit in _UNITS:
        _check(machine, unit, "nsenter --target $pid --mount")
    # Without the view of a unit, the modes of systemd's folders alone: as any program of that user would.
    for unit in _UNITS:
        if unit not in {_WATCH, "onionmx-guard.service"}:
            _check(machine, unit, "")
    machine.run(f"systemctl stop {' '.join(_ONCE)}; rm -r {_DROP_INS} /root/secret; systemctl daemon-reload")


def _check(machine: Machine, unit: str, spaces: str) -> None:
    opened = set(machine.read(_TRY.replace("UNIT", unit).replace("SPACES", spaces)).splitlines())
    expected = {path for path, units in _FILES.items() if unit in units}
    if opened != expected:
        raise MachineError(f"{unit} ({spaces or 'the host'}) opens {sorted(opened)}, expected {sorted(expected)}")
    print(f"{unit} ({spaces or 'the host'}) opens {len(opened)} of {len(_FILES)}", flush=True)
