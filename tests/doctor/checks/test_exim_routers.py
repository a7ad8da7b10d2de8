"""Old copies of the routers for Exim, in a real Exim."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration
from onionmx.doctor.checks.exim_routers import judge_routers, look_at_routers, read_routers
from onionmx.doctor.finding import Severity
from onionmx.doctor.machine import Machine
from tests.e2e.exim import DEBIAN_LIKE, FRAGMENTS, Exim
from tests.e2e.relay_site import exim_parts
from tests.e2e.serve_site import fragments

HELPER_ROUTER = (FRAGMENTS / "router/190_onionmx").read_text()
OLD_UNKNOWN = """
onionmx_unknown:
  driver = redirect
  domains = ! +local_domains : ! ^\\\\[
  condition = ${if !match{$address_data}{^1:}}
  allow_defer
  data = :defer: onionmx: cannot tell the route to $domain: exit code $address_data
"""
OLD_HELPER = HELPER_ROUTER[: HELPER_ROUTER.index("onionmx_unknown:")] + OLD_UNKNOWN
OLD_RELAY = """
onionmx:
  driver = accept
  domains = ! +local_domains : ! ^\\\\[
  address_data = ${lookup{$domain}cdb{ONIONMX_MAP}{$value}fail}
  transport = onionmx_relay
"""
CATCHES = """
onions:
  driver = accept
  domains = *.onion
  transport = onionmx_relay
"""
NAME = "router/190_onionmx"
SITES = {
    "helper": (DEBIAN_LIKE, []),
    "relay": (exim_parts(), []),
    "readsocket": (DEBIAN_LIKE | fragments("readsocket/conf.d"), []),
    "readsocket and relay": (exim_parts() | fragments("readsocket/relay/conf.d"), []),
    "no onionmx": (DEBIAN_LIKE | {NAME: ""}, []),
    "old helper": (DEBIAN_LIKE | {NAME: OLD_HELPER}, ["router onionmx_unknown takes exit code 1 alone"]),
    "old relay": (exim_parts() | {NAME: OLD_RELAY}, ["router onionmx leaves names under .onion"]),
    "old relay, and a router for onions": (exim_parts() | {NAME: CATCHES + OLD_RELAY}, []),
    "one too late": (exim_parts() | {NAME: OLD_RELAY + CATCHES}, ["router onionmx leaves names under .onion"]),
}


@pytest.mark.parametrize(("parts", "leaks"), SITES.values(), ids=list(SITES))
def test_old_routers_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict[str, str], leaks: list[str]
) -> None:
    exim = Exim(tmp_path / "exim", "sender.example", parts=parts)
    program = tmp_path / "bin" / "exim4"
    program.parent.mkdir()
    exim.write_command(program)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    findings = asyncio.run(look_at_routers(Machine(Configuration())))
    assert [finding.severity for finding in findings] == ([Severity.PROBLEM] * len(leaks) or [Severity.OK])
    for finding, leak in zip(findings, leaks, strict=False):
        assert leak in finding.seen
        assert "router/190_onionmx" in finding.fix


@given(st.text())
def test_whatever_exim_prints_is_read(text: str) -> None:
    assert judge_routers(list(read_routers(text)))


@given(st.lists(st.sampled_from(["a router:", "condition = ${if !match{$address_data}{^1:}}", "x", "", "no_more"])))
def test_any_router_that_believes_a_code_is_found(lines: list[str]) -> None:
    routers = list(read_routers("\n".join(lines)))
    assert len(routers) == lines.count("a router:")
    is_leaking = any("^1:" in line for line in lines[lines.index("a router:") :]) if routers else False
    assert (judge_routers(routers)[0].severity is Severity.PROBLEM) == is_leaking
