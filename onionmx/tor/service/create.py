"""Making an onion service for mail in torrc."""

from dataclasses import replace
from typing import TYPE_CHECKING

from onionmx.config import TorSection
from onionmx.errors import ConfigurationError, ControlError
from onionmx.tor.service.descriptor import DescriptorEvents
from onionmx.tor.service.folder import check_place, is_same_folder, prepared
from onionmx.tor.service.running import read_hostname, services
from onionmx.tor.service.tor_files import changed
from onionmx.tor.service.torrc import (
    DIRECTORY,
    Option,
    ServiceBlock,
    appended,
    block_options,
    format_block,
    parse_torrc,
    service_blocks,
)
from onionmx.tor.service.torrc_file import TorrcFile
from onionmx.tor.service.wanted import (
    LONG_LIVED_PORTS,
    Created,
    WantedService,
    is_as_wanted,
    known_to,
    other_service,
)

if TYPE_CHECKING:
    from stem.control import Controller


def create_in_torrc(
    controller: "Controller", settings: TorSection, wanted: WantedService, wait: float, *, dry_run: bool
) -> Created:
    """Add a service to torrc and have tor take it.

    tor checks the whole new text first (`tor --verify-config`). A service that is there as wanted stays as it is.

    Args:
        wait: seconds to wait for its descriptor to be published.
        dry_run: check, but change nothing.

    Raises:
        ConfigurationError: torrc cannot be read or written, is not this tor's, tor would not accept it, or it has
            another service in this folder; nothing was changed.
        ControlError: tor did not take it; torrc is as it was.
        LockedError: another process is changing it.
    """
    torrc = TorrcFile(settings, controller)
    with torrc.locked():
        return _create_in_torrc(controller, torrc, wanted, wait, dry_run=dry_run)


def _create_in_torrc(
    controller: "Controller", torrc: TorrcFile, wanted: WantedService, wait: float, *, dry_run: bool
) -> Created:
    wanted = known_to(controller, wanted)
    before = services(controller)
    there = next((service for service in before if is_same_folder(service.directory, wanted.directory)), None)
    if there is not None and not is_as_wanted(there, wanted):
        raise other_service(there, wanted, f"edit {torrc.path} and reload tor")
    text = torrc.read()
    if there is None and any(is_same_folder(block.directory, wanted.directory) for block in _blocks(text)):
        raise ConfigurationError(f"{torrc.path} has {DIRECTORY} {wanted.directory}, but tor does not: reload tor")
    if there is None:
        check_place(controller, wanted.directory, (service.directory for service in before))
    more = _long_lived_ports(controller, wanted)
    if there is not None and not more:
        return Created(changed=False, onion=there.onion, lines="", problem=there.problem)
    block = wanted.block() if there is None else ServiceBlock("", ())
    lines = format_block(block, more)
    new = appended(text, lines)
    # An instance is checked as another service: tor would want its ob_config, which is not there yet.
    torrc.verify(appended(text, format_block(replace(wanted, front=None).block(), more)) if block.directory else new)
    if dry_run:
        return Created(changed=True, onion=there.onion if there else None, lines=lines)
    with DescriptorEvents(controller) as events:
        user = torrc.user()
        with (
            prepared(wanted.directory, user),
            changed(wanted.ob_config if there is None else {}, user),
            torrc.replaced(text, new, [*more, *block_options(block)]),
        ):
            after = services(controller)
            if any(service not in after for service in before):
                raise ControlError(f"another service would change; {torrc.path} stays as it was")
            if not any(is_same_folder(service.directory, wanted.directory) for service in after):
                raise ControlError(f"tor has no service in {wanted.directory}; {torrc.path} stays as it was")
        onion, problem = read_hostname(wanted.directory)
        state = events.wait_for_uploads(onion, wait) if onion and wait and there is None else None
    return Created(changed=True, onion=onion, lines=lines, problem=problem, published=state)


def _blocks(text: str) -> list[ServiceBlock]:
    return service_blocks(parse_torrc(text))


def _long_lived_ports(controller: "Controller", wanted: WantedService) -> list[Option]:
    if not wanted.long_lived:
        return []
    ports = [port.strip() for port in (controller.get_conf(LONG_LIVED_PORTS, "") or "").split(",") if port.strip()]
    port = str(wanted.forward.port)
    # The line takes the place of tor's own list, which therefore has to be in it.
    return [] if port in ports else [Option(LONG_LIVED_PORTS, ",".join([*ports, port]))]
