"""Exim by the community's recipe of 2016, which knows nothing of the value that defers.

It takes the onion from the map, asks tor's DNSPort for an address of it, and hands that to tor's SOCKS port.
"""

import os
import sys
from pathlib import Path

import pytest

from onionmx.mapfile.cdb import DEFERS
from tests.mapfile.maps import make_map

from .conftest import skip_without
from .daemon import free_ports
from .dns_logger import DnsLogger
from .exim import DEBIAN_LIKE, Exim
from .lone_tor import LoneTor
from .onion_names_site import DNSLOOKUP, MESSAGE, SENDER, WAITING

OTHER = "elsewhere.example"
# In place of the Perl of the recipe.
ASK = """\
#!{python}
import sys
import dns.message, dns.query
query = dns.message.make_query(sys.argv[1], "A")
answer = dns.query.udp(query, "127.0.0.1", timeout=60, port={port})
print(next((record.to_text() for rrset in answer.answer for record in rrset), "no_such_host"), end="")
"""
ROUTER = """
onionrelays:
  driver = manualroute
  domains = cdb;ONIONMX_MAP
  transport = onionmx_smtp
  route_data = ${run{ASK ${lookup{$domain}cdb{ONIONMX_MAP}}}}
  no_more
"""


def test_old_recipe_hands_it_to_tor_and_the_mail_waits(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("port 53 is for root only")
    skip_without("exim4", "tor", "unshare")
    socks, dnsport = free_ports(2)
    tor = LoneTor(tmp_path / "tor", f"DNSPort 127.0.0.1:{dnsport}\nAutomapHostsOnResolve 1\n")
    torrc = tor.torrc.read_text().replace("SocksPort 0\n", f"SocksPort 127.0.0.1:{socks}\n")
    tor.torrc.write_text(torrc.replace("DisableNetwork 1\n", ""))
    path = make_map(tmp_path / "map.cdb", {WAITING: DEFERS})
    ask = tmp_path / "ask"
    ask.write_text(ASK.format(python=sys.executable, port=dnsport))
    ask.chmod(0o755)
    macros = {"ASK": str(ask), "ONIONMX_MAP": str(path), "ONIONMX_SOCKS": f"127.0.0.1 port={socks}"}
    parts = DEBIAN_LIKE | DNSLOOKUP | {"router/190_onionmx": ROUTER}
    tor.start()
    try:
        with DnsLogger(tmp_path) as logger, Exim(tmp_path / "exim", SENDER, macros, parts, wrap=logger.wrap) as exim:
            exim.submit(f"carol@{SENDER}", [f"alice@{WAITING}", f"bob@{OTHER}"], MESSAGE)
            exim.wait_for_log(rf"== alice@{WAITING} R=onionrelays T=onionmx_smtp defer")
            exim.wait_for_log(rf"\*\* bob@{OTHER}")
            tor.daemon.wait_for_log("could-not-tell")
            assert logger.questions_under(OTHER), "the logger hears nothing"
            assert logger.questions_under("onion") == []
            assert f"alice@{WAITING}" in exim.run("-bp").stdout
    finally:
        tor.stop()
