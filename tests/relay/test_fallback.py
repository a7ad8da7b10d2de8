"""The relay that watches: what it writes, says and asks, with rules, without them and with wrong ones."""

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from onionmx.config import Configuration, FallbackSection
from onionmx.errors import MapError
from onionmx.fallback.writing import read_released, write_released
from onionmx.mapfile.pins import format_seed
from onionmx.onion import Endpoint
from onionmx.relay import fallback as room
from onionmx.relay.run import RelayService
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.reply import Reply
from tests.mapfile.maps import A, B, C
from tests.relay.onion_mx import OnionMx, running
from tests.relay.relay import LMTP, configured

DOMAIN, TARGET, OTHER = "example.org", (A, 25), (B, 25)


class Watching:
    """A relay in a folder, and its clock."""

    def __init__(self, folder: Path, configuration: Configuration, mx: OnionMx) -> None:
        self.mx = mx
        self.rules, self.released = folder / "rules", folder / "released.cdb"
        section = FallbackSection(rules=str(self.rules), released=str(self.released), probe_interval=600)
        self.configuration = replace(configuration, fallback=section)
        self.service = RelayService(self.configuration, [])

    async def ask(self, domain: str = DOMAIN) -> Reply:
        """What is said to RCPT."""
        transaction = await self.service.begin(Envelope("me@sender.test"), LMTP)
        assert not isinstance(transaction, Reply)
        reply = await transaction.recipient(Recipient(f"you@{domain}"), more_follow=False)
        await transaction.abandon()
        return reply

    async def fail(self, seconds: float, target: Endpoint = TARGET) -> None:
        """Have its onion seen failing for so long, while another one answers; then let it decide."""
        fallback = self.service._fallback  # noqa: SLF001
        if fallback._round is not None:  # noqa: SLF001
            fallback._round.cancel()  # noqa: SLF001 -- its looks would find the onion MX in good health
        loop_time = asyncio.get_running_loop().time
        # The clock of the relay cannot be moved: what it has seen is put before now.
        now = loop_time() - seconds
        while now < loop_time() - 1:
            fallback.observed.answered(OTHER, now)
            fallback.observed.failed(target, now)
            now += 30
        fallback.observed.answered(OTHER, loop_time())
        fallback.observed.failed(target, loop_time())
        for domain in fallback.observed.due(loop_time()):
            if await fallback._why_not(domain) is None:  # noqa: SLF001
                fallback.observed.release(domain, loop_time())
        await self.settle()

    async def settle(self) -> None:
        """Let it write what has changed."""
        fallback = self.service._fallback  # noqa: SLF001
        await fallback._publish()  # noqa: SLF001


def play(
    folder: Path, rules: str | None, test: Callable[[Watching], Awaitable[None]], pins: str = "", tls: str = "never"
) -> None:
    async def run() -> None:
        async with running(OnionMx()) as mx, asyncio.timeout(120):
            entries = {DOMAIN: (TARGET,), "other.example": (OTHER,)}
            configuration = configured(folder, mx.port, entries, tls=tls)
            (folder / "pins").write_text(pins)
            watching = Watching(folder, configuration, mx)
            if rules is not None:
                watching.rules.write_text(rules)
            await watching.service.start()
            try:
                await test(watching)
            finally:
                await watching.service.stop()

    asyncio.run(run())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_released_said_and_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(relay: Watching) -> None:
        assert read_released(relay.released).domains == (), "the table is there from the start"
        assert (await relay.ask()).is_positive
        await relay.fail(3700)
        assert read_released(relay.released).domains == (DOMAIN,)
        reply = await relay.ask()
        assert str(reply).startswith("451 4.4.1 released")
        assert (await relay.ask("other.example")).is_positive
        relay.service._fallback.answered(TARGET)  # noqa: SLF001
        await relay.settle()
        assert read_released(relay.released).domains == ()
        assert (await relay.ask()).is_positive
        errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
        assert [error.split(": ")[:2] for error in errors] == [[DOMAIN, "released"], [DOMAIN, "no longer released"]]

    play(tmp_path, "* after 1h", test)


def test_not_before_the_time(tmp_path: Path) -> None:
    async def test(relay: Watching) -> None:
        await relay.ask()
        await relay.fail(3500)
        assert read_released(relay.released).domains == ()

    play(tmp_path, "* after 1h", test)


def test_nothing_is_released_while_no_relay_watches(tmp_path: Path) -> None:
    async def test(relay: Watching) -> None:
        await relay.ask()
        await relay.fail(3700)
        assert read_released(relay.released).domains == (DOMAIN,)

    play(tmp_path, "* after 1h", test)
    assert read_released(tmp_path / "released.cdb").domains == ()


def test_without_rules_nothing_is_written(tmp_path: Path) -> None:
    async def test(relay: Watching) -> None:
        before = names(tmp_path)
        assert (await relay.ask()).is_positive
        await relay.fail(8640)
        assert names(tmp_path) == before
        assert relay.service._fallback._round is None  # noqa: SLF001

    play(tmp_path, None, test)


def test_file_of_an_earlier_run_is_emptied_without_rules(tmp_path: Path) -> None:
    write_released(tmp_path / "released.cdb", (DOMAIN,))

    async def test(relay: Watching) -> None:
        assert read_released(relay.released).domains == ()

    play(tmp_path, None, test)


def test_wrong_rules_at_the_start_are_none_and_at_a_reload_change_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(relay: Watching) -> None:
        (error,) = (each.getMessage() for each in caplog.records if each.levelname == "ERROR")
        assert error.startswith("no fallback, all mail for onions waits: ")
        assert f"{relay.rules}:1: " in error
        assert f"{relay.rules}:2: " in error
        relay.rules.write_text("* after 1h")
        relay.service.take(relay.configuration)
        for _ in range(100):
            await asyncio.sleep(0)  # the first look at what fails, which is nothing yet
        await relay.ask()
        await relay.fail(3700)
        assert read_released(relay.released).domains == (DOMAIN,)
        relay.rules.write_text("* sometime")
        relay.service.take(relay.configuration)
        await relay.settle()
        assert read_released(relay.released).domains == (DOMAIN,)
        relay.rules.unlink()
        relay.service.take(relay.configuration)
        await relay.settle()
        assert read_released(relay.released).domains == ()

    play(tmp_path, "example.org after soon\nfoo", test)


def test_pins_are_never_released(tmp_path: Path) -> None:
    async def test(relay: Watching) -> None:
        assert (await relay.ask()).is_positive
        await relay.fail(2 * 3700)
        assert read_released(relay.released).domains == ()

    play(tmp_path, f"{DOMAIN} after 1h", test, pins=format_seed({DOMAIN: (TARGET,)}))


def test_folder_that_is_missing_is_said_once_and_mail_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(relay: Watching) -> None:
        section = replace(relay.configuration.fallback, released=str(tmp_path / "no" / "released.cdb"))
        relay.service.take(replace(relay.configuration, fallback=section))
        await relay.ask()
        await relay.fail(3700)
        await relay.settle()
        assert (await relay.ask()).is_positive, "nobody would know of it"
        lines = [each.getMessage() for each in caplog.records if "No such file" in each.getMessage()]
        assert len(lines) == 1

    play(tmp_path, "* after 1h", test)


@pytest.mark.parametrize("greeting", ["421 4.7.0 busy", "554 5.7.1 not for you"])
def test_onion_mx_that_refuses_in_words_is_not_dead(tmp_path: Path, greeting: str) -> None:
    async def test(relay: Watching) -> None:
        fallback = relay.service._fallback  # noqa: SLF001
        await relay.ask()
        relay.mx.answer = lambda _dialog, verb, _line: greeting if verb == "greeting" else None
        await relay.fail(3700)
        await fallback._probe(TARGET)  # noqa: SLF001
        await relay.settle()
        assert read_released(relay.released).domains == ()
        assert fallback.observed.failed_for(DOMAIN) == 0.0

    play(tmp_path, "* after 1h", test)


def test_missing_tls_that_is_asked_for_releases_nothing(tmp_path: Path) -> None:
    async def test(relay: Watching) -> None:
        await relay.ask()
        await relay.fail(1800)
        await relay.service._fallback._probe(TARGET)  # noqa: SLF001
        assert relay.service._fallback.observed.failed_for(DOMAIN) == 0.0  # noqa: SLF001

    play(tmp_path, "* after 1h", test, tls="require")


@pytest.mark.parametrize("reply", [0xF4, 0xF5])
def test_key_that_tor_lacks_releases_nothing(tmp_path: Path, reply: int) -> None:
    async def test(relay: Watching) -> None:
        fallback = relay.service._fallback  # noqa: SLF001
        relay.mx.socks = {A: reply}
        await relay.ask()
        fallback.answered(OTHER)
        await fallback._probe(TARGET)  # noqa: SLF001
        assert not fallback.observed.suspects
        relay.mx.socks = {A: 0xF0}
        await fallback._probe(TARGET)  # noqa: SLF001
        assert DOMAIN in fallback.observed.suspects

    play(tmp_path, "* after 1h", test)


def test_table_is_there_after_a_reload_too(tmp_path: Path) -> None:
    async def test(relay: Watching) -> None:
        assert not relay.released.exists()
        relay.rules.write_text("* after 1h")
        relay.service.take(relay.configuration)
        assert read_released(relay.released).domains == ()

    play(tmp_path, None, test)


def test_what_came_back_is_not_believed_though_the_table_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MapError("No space left on device")

    async def test(relay: Watching) -> None:
        await relay.ask()
        await relay.fail(3700)
        assert read_released(relay.released).domains == (DOMAIN,)
        with monkeypatch.context() as patch:
            patch.setattr(room, "write_released", fail)
            relay.service._fallback.answered(TARGET)  # noqa: SLF001
            await relay.settle()
            with pytest.raises(MapError, match="not confirmed"):
                read_released(relay.released)
            assert (await relay.ask()).is_positive, "no MTA takes it for released"

    play(tmp_path, "* after 1h", test)


def test_table_that_may_not_be_looked_at_is_said_and_the_relay_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = os.stat

    def refused(path: str | Path, *arguments: Any, **keywords: Any) -> os.stat_result:  # noqa: ANN401 -- as os.stat
        if isinstance(path, str | Path) and Path(path).name == "released.cdb":
            raise PermissionError(errno.EACCES, "Permission denied")  # root would be let in
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "stat", refused)
    monkeypatch.setattr(os, "lstat", refused)

    async def test(relay: Watching) -> None:
        assert (await relay.ask()).is_positive

    play(tmp_path, "* after 1h", test)
    assert not [each for each in caplog.records if each.exc_info]


def test_what_is_released_is_looked_at_first_and_the_others_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(relay: Watching) -> None:
        fallback = relay.service._fallback  # noqa: SLF001
        await relay.ask()
        await relay.fail(3700)
        begin = asyncio.get_running_loop().time()
        passed = 0.0
        probed: list[Endpoint] = []

        async def probe(endpoint: Endpoint) -> bool:
            nonlocal passed
            passed += 30.0
            if endpoint != OTHER:  # the evidence
                probed.append(endpoint)
            return False

        monkeypatch.setattr(fallback, "_probe", probe)
        monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: begin + passed, time=time.time))
        many = {(C, port) for port in range(1, 101)}
        for onion, port in many:
            fallback.observed.wanted(f"d{port}.example", ((onion, port),))
            fallback.observed.failed((onion, port), begin)
        await fallback._look()  # noqa: SLF001
        assert probed.pop(0) == TARGET
        assert len(set(probed)) == len(probed) < 100, "a round has an end"
        while set(probed) < many and passed < 1e6:
            await fallback._look()  # noqa: SLF001
            probed = [endpoint for endpoint in probed if endpoint != TARGET]
        assert set(probed) == many
        assert len(probed) < 2 * len(many), "each in its turn"

    play(tmp_path, "* after 1h", test)


def test_host_that_takes_its_pins_from_a_shared_store_releases_none_of_the_map(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(relay: Watching) -> None:
        sync = replace(relay.configuration.sync, store="valkeys://store.example")
        relay.service.take(replace(relay.configuration, sync=sync))
        await relay.ask()
        await relay.fail(3700)
        assert read_released(relay.released).domains == (DOMAIN,), "its own file has all pins"
        relay.service.take(replace(relay.configuration, sync=replace(sync, pins=str(tmp_path / "none"))))
        assert "no domain of the map is released: the pins are in the store" in caplog.text
        relay.service.take(relay.configuration)
        # The default file of pins, which alone may be missing, is not the test's.
        monkeypatch.setattr(room, "_pins_are_elsewhere", lambda _: True)
        assert "the pins are in the store" in (await relay.service._fallback._why_not(DOMAIN) or "")  # noqa: SLF001

    play(tmp_path, "* after 1h", test)
