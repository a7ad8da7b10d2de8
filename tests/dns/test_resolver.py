"""Who is asked, how, and whose word on DNSSEC counts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration, DnsSection, Resolver, parse_resolver
from onionmx.dns.choice import choose
from onionmx.dns.resolv_conf import system_resolvers
from onionmx.dns.resolver import DnsResolver
from onionmx.dns.srv import SrvResolver
from onionmx.errors import ConfigurationError
from tests.onions import V2_ONION, make_onion

ONION = make_onion("resolver")
LOOPBACK = Resolver("127.0.0.1", 53)
NEAR = Resolver("192.0.2.1", 53)
TLS = "tls://192.0.2.1#resolver.example"


@pytest.mark.parametrize(
    ("text", "resolver"),
    [
        ("192.0.2.1", NEAR),
        ("192.0.2.1:5353", Resolver("192.0.2.1", 5353)),
        ("2001:db8::1", Resolver("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", Resolver("2001:db8::1", 5353)),
        (TLS, Resolver("192.0.2.1", 853, "resolver.example")),
        ("tls://[2001:db8::1]:8853#Resolver.Example", Resolver("2001:db8::1", 8853, "resolver.example")),
        (ONION, Resolver(ONION, 53)),
        (f"{ONION.upper()}:5353", Resolver(ONION, 5353)),
        (f"tls://{ONION}#resolver.example", Resolver(ONION, 853, "resolver.example")),
    ],
)
def test_forms(text: str, resolver: Resolver) -> None:
    assert parse_resolver(text) == resolver


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("resolver example", "expected IP or NAME"),
        ("tls://192.0.2.1", "names no certificate: expected tls://HOST"),
        ("tls://192.0.2.1#a b", "names no certificate"),
        ("tls://#resolver.example", "expected IP or NAME"),
        ("https://192.0.2.1/dns-query", "expected IP or NAME"),
        ("192.0.2.1:0", "expected IP or NAME"),
        (V2_ONION, "version 2"),
        (f"{ONION}:99999", "not a port"),
    ],
)
def test_other_forms_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_resolver(text)


@given(st.one_of(st.text(), st.text().map("tls://{}".format), st.text().map("tls://192.0.2.1{}".format)))
def test_any_text_is_a_resolver_or_the_documented_error(text: str) -> None:
    try:
        resolver = parse_resolver(text)
    except ValueError as error:
        assert str(error)
    else:
        assert resolver.port


def refusal(toml: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Configuration.parse(f"[dns]\n{toml}".encode(), "onionmx.toml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('nameservers = ["192.0.2.1"]\ntrusted = ["192.0.2.1"]', "neither on loopback nor asked over TLS"),
        ('nameservers = ["192.0.2.1"]\ntrusted = ["loopback", "192.0.2.1"]', "expected tls://IP[:PORT]#NAME"),
        ('trusted = ["192.0.2.1"]', "is not in dns.nameservers"),
        ('trusted = ["127.0.0.1:5353"]', "is not in dns.nameservers"),
        ('nameservers = ["192.0.2.1"]\ntrusted = ["127.0.0.1"]', "is not in dns.nameservers"),
        ('nameservers = ["192.0.2.1"]\ntrusted = ["tls://192.0.2.1#x"]', "is not in dns.nameservers"),
        ('through_tor = true\nnameservers = ["127.0.0.1"]\ntrusted = ["127.0.0.1"]', "neither on loopback nor"),
        (f'through_tor = true\nnameservers = ["{ONION}"]\ntrusted = ["{ONION}"]', "neither on loopback nor"),
        ("through_tor = true", "dns.through_tor: expected the resolvers to ask in dns.nameservers"),
        (f'nameservers = ["{ONION}"]', "is an onion: set dns.through_tor = true"),
        ('nameservers = ["tls://192.0.2.1"]', "names no certificate"),
    ],
)
def test_configurations_that_are_refused(toml: str, why: str) -> None:
    message = refusal(toml)
    assert message.startswith("configuration onionmx.toml: dns")
    assert why in message


@pytest.mark.parametrize(
    ("settings", "resolver", "believed"),
    [
        (DnsSection(), LOOPBACK, True),
        (DnsSection(), Resolver("::1", 53), True),
        (DnsSection(), NEAR, False),
        (DnsSection(trusted=()), LOOPBACK, False),
        (DnsSection(nameservers=("127.0.0.1",), trusted=("127.0.0.1",)), LOOPBACK, True),
        (DnsSection(nameservers=("127.0.0.1",), through_tor=True), LOOPBACK, False),
        (DnsSection(nameservers=(TLS,)), parse_resolver(TLS), False),
        (DnsSection(nameservers=(TLS,), trusted=(TLS,)), parse_resolver(TLS), True),
        (DnsSection(nameservers=(TLS,), trusted=(TLS,), through_tor=True), parse_resolver(TLS), True),
        (DnsSection(nameservers=(TLS, "192.0.2.1"), trusted=(TLS,)), NEAR, False),
    ],
)
def test_who_is_believed(settings: DnsSection, resolver: Resolver, *, believed: bool) -> None:
    assert settings.believes(resolver) is believed


FROM_FILE: dict[str, tuple[str, tuple[str, ...], list[str], bool]] = {
    "without trust-ad": ("nameserver 127.0.0.1", ("loopback",), ["127.0.0.1"], False),
    "with trust-ad": ("nameserver 127.0.0.1\noptions trust-ad", ("loopback",), ["127.0.0.1"], True),
    "named": ("nameserver 127.0.0.1", ("127.0.0.1",), ["127.0.0.1"], True),
    "trust-ad and nobody is believed": ("nameserver ::1\noptions trust-ad", (), ["::1"], False),
    "not on this host": ("nameserver 192.0.2.1\noptions trust-ad", ("loopback",), ["192.0.2.1"], False),
    "only the believed one is asked": (
        "nameserver 192.0.2.1\nnameserver 127.0.0.1\noptions edns0 trust-ad",
        ("loopback",),
        ["127.0.0.1"],
        True,
    ),
    "both are asked where none is believed": (
        "nameserver 192.0.2.1\nnameserver 127.0.0.1",
        ("loopback",),
        ["192.0.2.1", "127.0.0.1"],
        False,
    ),
}


@pytest.mark.parametrize(("content", "trusted", "asked", "believed"), FROM_FILE.values(), ids=list(FROM_FILE))
def test_resolvers_of_the_host(  # noqa: PLR0913
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    trusted: tuple[str, ...],
    asked: list[str],
    *,
    believed: bool,
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(content)
    monkeypatch.setattr("onionmx.dns.choice.system_resolvers", lambda: system_resolvers(path))
    choice = choose(DnsSection(trusted=trusted))
    assert [resolver.host for resolver in choice.resolvers] == asked
    assert choice.are_believed is believed
    assert choice.is_trust_ad_missing is ("trust-ad" not in content and trusted == ("loopback",))


def test_who_is_not_believed_is_not_asked_beside_one_who_is() -> None:
    choice = choose(DnsSection(nameservers=("192.0.2.1", TLS), trusted=(TLS,)))
    assert choice.resolvers == (parse_resolver(TLS),)
    assert choice.left_out == (NEAR,)
    assert choice.are_believed


def test_through_tor_is_never_asked_directly() -> None:
    with pytest.raises(ConfigurationError, match=r"dns\.through_tor"):
        SrvResolver(DnsSection(nameservers=("192.0.2.1",), through_tor=True))


def test_machine_without_a_resolver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onionmx.dns.choice.system_resolvers", lambda: system_resolvers(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"dns\.nameservers"):
        DnsResolver(DnsSection())
