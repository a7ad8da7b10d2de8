"""Having a running tor read the files of its onion services again, or renew one of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stem import ControllerError

from onionmx.errors import ConfigurationError, ControlError
from onionmx.tor.service.folder import is_same_folder
from onionmx.tor.service.running import OnionService, service_options, services
from onionmx.tor.service.torrc import DIRECTORY, ENCODING, Option, setconf, split_off

if TYPE_CHECKING:
    from stem.control import Controller


def service_in(controller: "Controller", directory: Path) -> OnionService:
    """The service of torrc that has this folder.

    Raises:
        ConfigurationError: tor has none there.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    for service in services(controller):
        if is_same_folder(service.directory, directory):
            return service
    raise ConfigurationError(
        f"tor has no onion service of torrc in {directory}: onionmx onion create makes one; for another folder say "
        "--directory"
    )


def reload_services(controller: "Controller") -> None:
    """Have tor read keys and clients of its services again; their circuits stay.

    Raises:
        ControlError: tor did not do it.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    _set(controller, service_options(controller, ENCODING))


def renew_service(controller: "Controller", service: OnionService) -> None:
    """Have tor give a service up and take it back: with other introduction points, and without its old circuits.

    Args:
        service: of torrc.

    Raises:
        ControlError: tor did not do it.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    options = service_options(controller, ENCODING)
    _, others = own_options(controller, service)
    is_away = False
    try:
        _set(controller, others)
        is_away = True
        _set(controller, options)
    except BaseException as error:
        # Whatever it was, Ctrl-C too: tor may have ended the service, even where its answer was not waited for.
        try:
            _set(controller, options)
        except (ControlError, ControllerError):
            if is_away:
                words = f"tor gave up the service in {service.directory} and did not take it again: restart tor"
                raise ControlError(words) from error
        raise


def own_options(controller: "Controller", service: OnionService) -> tuple[list[Option], list[Option]]:
    """The lines of a service, and those of all others, in the encoding in which `setconf` gives them back.

    Args:
        service: of torrc.

    Raises:
        ControlError: tor has none for it any more.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    directory = (service.directory or "").encode().decode(ENCODING)
    own, others = split_off(service_options(controller, ENCODING), directory)
    if not own:
        raise ControlError(f"tor has no {DIRECTORY} {service.directory} any more")
    return own, others


def _set(controller: "Controller", options: Iterable[Option]) -> None:
    # A SETCONF of what is there already makes tor read the files as a SIGNAL RELOAD does, but of a torrc that somebody
    # has broken since tor would end at that.
    answer = controller.msg(setconf(options))
    if not answer.is_ok():
        raise ControlError(f"tor does not take its onion services again: {answer}")
