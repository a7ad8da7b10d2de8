"""Having a running tor read the files of its onion services again, or make one of them anew."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from stem import ControllerError

from onionmx.errors import ConfigurationError, ControlError
from onionmx.tor.service.folder import is_same_folder
from onionmx.tor.service.running import OnionService, service_options, services
from onionmx.tor.service.torrc import DIRECTORY, ENCODING, Option, setconf

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


def renew_service(controller: "Controller", directory: Path) -> None:
    """Have tor end a service and make it anew: with other introduction points, and without the circuits of before.

    Raises:
        ControlError: tor did not do it.
        stem.ControllerError: tor cannot be asked; `open_control` makes a ControlError of it.
    """
    options = service_options(controller, ENCODING)
    is_away = False
    try:
        _set(controller, _without(options, directory))
        is_away = True
        _set(controller, options)
    except BaseException as error:
        # Whatever it was, Ctrl-C too: tor may have ended the service, even where its answer was not waited for.
        try:
            _set(controller, options)
        except (ControlError, ControllerError):
            if is_away:
                words = f"tor gave up the service in {directory} and did not take it again: restart tor"
                raise ControlError(words) from error
        raise


def _without(options: Iterable[Option], directory: Path) -> list[Option]:
    rest: list[Option] = []
    inside = False
    for option in options:
        if option.keyword.lower() == DIRECTORY.lower():
            inside = is_same_folder(option.value, directory)
        if not inside:
            rest.append(option)
    return rest


def _set(controller: "Controller", options: Iterable[Option]) -> None:
    # A SETCONF of what is there already makes tor read the files as a SIGNAL RELOAD does, but of a torrc that somebody
    # has broken since tor would end at that.
    answer = controller.msg(setconf(options))
    if not answer.is_ok():
        raise ControlError(f"tor does not take its onion services again: {answer}")
