"""The plan: from what is there and what is wished to stages; no I/O.

The order keeps the promises. Mail is handed to the relay only when tor's port, the map and the relay are there; the
onion service comes last, when the MTA no longer trusts the address that it leads to.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from onionmx.config import OnionSection, parse_socket
from onionmx.config.export import BOUNCES
from onionmx.defaults import DNSPORT
from onionmx.errors import ConfigurationError, UsageError
from onionmx.onion import DEFAULT_PORT
from onionmx.setup.observe import Observed
from onionmx.setup.programs import exim, opensmtpd, postfix, settings, tor
from onionmx.setup.programs.blocks import appended, settled
from onionmx.setup.programs.exim_template import SECTIONS
from onionmx.setup.programs.mtas import MTAS
from onionmx.setup.programs.wishes import SetupOptions
from onionmx.setup.steps import ENCODING, FileChange, SetupCommand, SetupStage, Wait, without_ours
from onionmx.tor.service.running import HOSTNAME
from onionmx.tor.service.torrc import Forward, parse_forward

_PATIENCE = 60.0
"""Seconds for a daemon to open a port after a reload."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        wishes: that it fulfils.
        stages: in order.
        ports: of tor.
        publishes: whether a name server takes the record.
        notes: what the administrator should know.
    """

    wishes: SetupOptions
    stages: tuple[SetupStage, ...]
    ports: tor.TorPorts
    publishes: bool = False
    notes: tuple[str, ...] = ()


def make_plan(observed: Observed, wishes: SetupOptions) -> Plan:
    """Plan what leads from the machine as it is to the machine as it is wished.

    Args:
        wishes: complete, see `wishes.missing`.

    Raises:
        ConfigurationError: something is in the way; says what, and what would be right.
    """
    _check(observed, wishes)
    receiving = _forward(observed, wishes) if wishes.receive else None
    ports = tor.ports(
        without_ours(observed.files.get(tor.TORRC), tor.TORRC),
        observed.text(tor.DEFAULTS),
        virtual_addresses=wishes.uses_virtual_addresses,
        receiving=receiving,
        directory=observed.configuration.onion.directory,
    )
    _check_listen(ports)
    mta = {"exim": _exim, "opensmtpd": _opensmtpd}.get(wishes.mta or "", _postfix)(observed, wishes, ports)
    stages = [*_tor(observed, ports), _onionmx(observed, wishes, ports), mta]
    if len(stages) > 3:  # noqa: PLR2004 -- tor's ports, its service, and the two others
        stages.append(stages.pop(1))
    publishes = bool(wishes.receive and (wishes.publish_to or observed.configuration.publish.server))
    return Plan(wishes, tuple(stages), ports, publishes, _notes(observed, wishes, publishes=publishes))


def _check(observed: Observed, wishes: SetupOptions) -> None:
    if wishes.mta not in observed.mtas:
        known = next(f"{signs.name} ({signs.settings})" for signs in MTAS if signs.mta == wishes.mta)
        raise ConfigurationError(f"{known} is not here: install it, or name the other one with --mta")
    if not observed.tor or tor.TORRC not in observed.files:
        raise ConfigurationError(f"tor is not here, or has no {tor.TORRC}: apt install tor")
    if wishes.mta == "exim" and exim.BY_HAND in observed.files:
        raise ConfigurationError(
            f"{exim.BY_HAND} takes the place of Debian's configuration: put the fragments in by hand, see \"Without "
            "Debian's files\" in exim/README.md"
        )
    if wishes.send and not (settings.domains_of_sync(observed.configuration, wishes, observed.logs)):
        raise UsageError("there is no log of the MTA to take domains from: --lists FILE, a list of domains")
    if wishes.send and wishes.mta == "postfix" and wishes.postfix == "table" and "cdb" not in observed.map_types:
        raise ConfigurationError(
            "Postfix cannot read CDB files: apt install postfix-cdb, or choose --postfix socketmap"
        )
    if wishes.uses_list and observed.configuration.relay.unrouted == "reject":
        raise ConfigurationError(BOUNCES)
    if observed.problems:
        raise ConfigurationError(f"tor would end when it takes the onion service: {observed.problems}")


def _forward(observed: Observed, wishes: SetupOptions) -> Forward:
    host, port = parse_socket(observed.configuration.onion.forward)
    if wishes.mta == "opensmtpd" and observed.configuration.onion.forward == OnionSection().forward:
        host, port = opensmtpd.forward(without_ours(observed.files.get(opensmtpd.CONF), opensmtpd.CONF), host, port)
    return Forward(DEFAULT_PORT, host, port)


def _check_listen(ports: tor.TorPorts) -> None:
    if ports.forward is not None and parse_forward(str(ports.forward)) is None:
        raise ConfigurationError(f"{tor.TORRC}: the MTA cannot listen on {ports.forward.target}")


def _program(observed: Observed, *words: str) -> tuple[str, ...]:
    return (*shlex.split(observed.program), *words)


def _systemctl(*words: str) -> SetupCommand:
    return SetupCommand(("systemctl", *words), needs_systemd=True)


# tor.


def _tor(observed: Observed, ports: tor.TorPorts) -> list[SetupStage]:
    before = without_ours(observed.files.get(tor.TORRC), tor.TORRC)
    client, service = ports.client_lines, ports.service_lines
    first = appended(before, client) if client else before
    last = appended(first, service) if service else first
    now = observed.text(tor.TORRC)
    if settled(now, last, tor.TORRC) == now:
        first = last = now
    changes = [FileChange.of_text(tor.TORRC, first)]
    steps: list[SetupCommand | Wait] = []
    ours = ports.relay_socks == tor.SOCKET
    if tor.APPARMOR_PROFILE in observed.files:
        text = without_ours(observed.files.get(tor.APPARMOR_LOCAL), tor.APPARMOR_LOCAL)
        wanted = tor.apparmor(text, tor.SOCKET) if ours else text
        now = observed.text(tor.APPARMOR_LOCAL)
        changes.insert(0, FileChange.of_text(tor.APPARMOR_LOCAL, settled(now, wanted, tor.APPARMOR_LOCAL)))
        if observed.apparmor:
            # It may fail: in a container the kernel's profiles are those of the host, and tor is not confined.
            parser = ("apparmor_parser", "--replace", "--write-cache", tor.APPARMOR_PROFILE)
            steps.append(SetupCommand(parser, may_fail=True))
    back = (*(step for step in steps if isinstance(step, SetupCommand)), _reload_tor(observed))
    check = _verify_tor(observed)
    why = f"tor did not open {ports.relay_socks} after its reload: journalctl -u {observed.tor_unit} says why"
    # tor opens a port below 1024 when it starts; a running one without any cannot (tor(1), KeepBindCapabilities).
    low = any(option.value.startswith((DNSPORT, tor.EXIM_SOCKS)) for option in ports.client)
    take = _systemctl("restart", observed.tor_unit) if low else _reload_tor(observed)
    steps += [check, take, Wait(ports.relay_socks, _PATIENCE, why)]
    stages = [SetupStage("tor", tuple(changes), tuple(steps), back=(*back[:-1], check, back[-1]))]
    if ports.forward is not None:
        hostname = f"{ports.directory}/{HOSTNAME}"
        why = f"tor did not make {hostname}: journalctl -u {observed.tor_unit} says why"
        service_steps = (check, _reload_tor(observed), Wait(hostname, _PATIENCE, why))
        stages.append(
            SetupStage(
                "onion service",
                (FileChange.of_text(tor.TORRC, last),),
                service_steps,
                back=(check, _reload_tor(observed)),
            )
        )
    return stages


def _reload_tor(observed: Observed) -> SetupCommand:
    if observed.reloads:
        return _systemctl("reload-or-restart", observed.tor_unit)
    return _systemctl("kill", "--kill-whom=main", "--signal=HUP", observed.tor_unit)


def _verify_tor(observed: Observed) -> SetupCommand:
    defaults = ("--defaults-torrc", tor.DEFAULTS) if tor.DEFAULTS in observed.files else ()
    return SetupCommand((observed.tor, *defaults, "-f", tor.TORRC, "--verify-config", "--hush"), is_check=True)


# onionmx itself.


def _onionmx(observed: Observed, wishes: SetupOptions, ports: tor.TorPorts) -> SetupStage:
    configuration = observed.configuration
    text = settings.drop_in(configuration, wishes, ports, observed.logs)
    changes = [FileChange(settings.DROP_IN, text.encode(), whole=True)]
    units = settings.units(configuration, wishes)
    steps: list[SetupCommand | Wait] = [SetupCommand(_program(observed, "config"), is_check=True)]
    back: tuple[SetupCommand, ...] = ()
    if any(unit not in observed.packaged_units for unit in units):
        files = settings.unit_files(units, observed.shipped, observed.program)
        changes += [FileChange(path, content, whole=True) for path, content in files.items()]
        back = (_systemctl("daemon-reload"),)
        steps.append(SetupCommand(("systemd-sysusers", observed.users), needs_systemd=True))
        steps.append(SetupCommand(("systemd-tmpfiles", "--create", observed.folders), needs_systemd=True))
        steps += back
    if wishes.uses_list:
        changes.append(FileChange(settings.MAP_COMMAND, settings.map_command().encode(), whole=True))
        back = (_systemctl("daemon-reload"),)
        steps += [step for step in back if step not in steps]
    if wishes.send:
        steps.append(SetupCommand(_program(observed, "sync"), may_fail=True))
        steps += [
            Wait(path, 0, f"the first sync wrote no {path}, without which mail would wait")
            for path in _maps(observed, wishes)
        ]
    return SetupStage("onionmx", tuple(changes), tuple(steps), units, back)


def _maps(observed: Observed, wishes: SetupOptions) -> list[str]:
    table = wishes.mta == "postfix" and wishes.postfix == "table"
    plain = [settings.list_path(observed.configuration)] if wishes.uses_list else []
    return [observed.configuration.map.path, *([settings.table_path(observed.configuration)] if table else []), *plain]


# The MTAs.


def _listening(ports: tor.TorPorts) -> list[Wait]:
    if ports.forward is None:
        return []
    return [
        Wait(ports.forward.target, _PATIENCE, f"the MTA does not listen on {ports.forward.target} after its reload")
    ]


def _exim(observed: Observed, wishes: SetupOptions, ports: tor.TorPorts) -> SetupStage:
    ours = exim.fragments(observed.shipped, wishes)
    macros = settings.mta_macros(observed.configuration, wishes, ports, observed.helper)
    if macros:
        ours[exim.MACROS] = macros.encode()
    before = without_ours(observed.files.get(exim.SETTINGS), exim.SETTINGS)
    if ports.forward is not None:
        before = exim.with_interface(before, ports.forward.target_host, ports.forward.target_port or DEFAULT_PORT)
    whole, conf, template = exim.files(
        before,
        {name: observed.text(f"{exim.CONFD}/{name}") for name in _confd(observed) if name not in ours},
        without_ours(observed.files.get(exim.TEMPLATE), exim.TEMPLATE),
        observed.text(exim.LOCAL_MACROS),
        ours,
    )
    changes = [FileChange(f"{exim.CONFD}/{name}", whole[name], whole=True) for name in exim.in_order(whole)]
    for path, text in ((exim.TEMPLATE, template), (exim.SETTINGS, conf)):
        if path in observed.files:
            changes.append(FileChange(path, settled(observed.text(path), text, path).encode(ENCODING)))
    commands = (
        SetupCommand(("update-exim4.conf",), is_check=True),
        SetupCommand(("exim4", "-bV"), is_check=True),
        _systemctl("restart", "exim4"),
    )
    return SetupStage("exim", tuple(changes), (*commands, *_listening(ports)), back=commands)


def _confd(observed: Observed) -> Sequence[str]:
    start = f"{exim.CONFD}/"
    names = [path.removeprefix(start) for path in observed.files if path.startswith(start)]
    return [name for name in names if name.partition("/")[0] in SECTIONS and "_onionmx" not in name]


def _postfix(observed: Observed, wishes: SetupOptions, ports: tor.TorPorts) -> SetupStage:
    configuration = observed.configuration
    master = without_ours(observed.files.get(postfix.MASTER), postfix.MASTER)
    main = without_ours(observed.files.get(postfix.MAIN), postfix.MAIN)
    if wishes.send:
        table = f"cdb:{settings.table_path(configuration).removesuffix('.cdb')}"
        if wishes.postfix == "socketmap":
            address = next(iter(configuration.serve.socketmap_listen), "127.0.0.1:10027")
            table = f"socketmap:inet:{address}:transport"
        main = postfix.sending(
            main,
            domains=settings.local_domains(configuration, wishes),
            result=settings.transport_result(configuration),
            table=table,
        )
    if ports.forward is not None:
        main = postfix.receiving(main, observed.mynetworks)
    listen = ports.forward.target if ports.forward else ""
    master = postfix.master(master, send=bool(wishes.send), listen=listen)
    changes = [
        FileChange.of_text(path, settled(observed.text(path), text, path))
        for path, text in ((postfix.MASTER, master), (postfix.MAIN, main))
    ]
    commands = (SetupCommand(("postfix", "check"), is_check=True), _systemctl("reload-or-restart", "postfix"))
    return SetupStage("postfix", tuple(changes), (*commands, *_listening(ports)), back=commands)


def _opensmtpd(observed: Observed, wishes: SetupOptions, ports: tor.TorPorts) -> SetupStage:
    configuration = observed.configuration
    text = without_ours(observed.files.get(opensmtpd.CONF), opensmtpd.CONF)
    text = opensmtpd.with_rules(
        text,
        relay=settings.smtp_relay_address(configuration) if wishes.send else "",
        path=settings.list_path(configuration),
        domains=settings.local_domains(configuration, wishes),
        listen=ports.forward.target if ports.forward else "",
    )
    settled_text = settled(observed.text(opensmtpd.CONF), text, opensmtpd.CONF)
    commands = (SetupCommand(("smtpd", "-n"), is_check=True), _systemctl("restart", opensmtpd.UNIT))
    return SetupStage(
        "opensmtpd",
        (FileChange.of_text(opensmtpd.CONF, settled_text),),
        (*commands, *_listening(ports)),
        back=commands,
    )


def _notes(observed: Observed, wishes: SetupOptions, *, publishes: bool) -> tuple[str, ...]:
    notes = []
    if wishes.receive and not publishes:
        notes.append("the record is printed at the end, for your zone: --publish-to SERVER sends it there")
    if not observed.systemd:
        notes.append("systemd does not run here: files are changed, and the commands are named for you to run")
    return tuple(notes)
