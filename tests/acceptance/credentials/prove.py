"""Sync with a real server and its password, publish with a real name server and its key, from credentials alone."""

import dns.message
import dns.query
import dns.rdatatype

from tests.acceptance.machine import MachineError
from tests.acceptance.site import Site
from tests.acceptance.world import LOCAL
from tests.e2e.bind import Bind
from tests.e2e.name_servers import TSIG_ALGORITHM, TSIG_NAME, TSIG_SECRET, Zone
from tests.e2e.valkey import PASSWORD, ValkeyServer

from .readers import each_unit_opens_its_own

_SYNC, _PUBLISH = "onionmx-sync.service", "onionmx-publish.service"
_RECORD = f"_onion-mx._tcp.{LOCAL}"
_CONFIGURATION = """\
[local]
domains = ["{local}"]
[sync]
store = "valkey://127.0.0.1:{store_port}"
store_password_file = "credential:onionmx.store-password"
store_key_file = "credential:onionmx.store-key"
[publish]
server = "127.0.0.1:{dns_port}"
tsig_file = "credential:onionmx.tsig"
"""
_SECRETS = {
    "onionmx.store-password": PASSWORD,
    "onionmx.store-key": "k" * 64,
    "onionmx.tsig": f"{TSIG_NAME}:{TSIG_ALGORITHM}:{TSIG_SECRET}",
}
_MISSING = f"credential onionmx.store-key is not in /run/credentials/{_SYNC}: put it into /etc/credstore"
_DROP_IN = f"/run/systemd/system/{_SYNC}.d"
_ENCRYPT = f"""\
cd /etc/credstore
for name in onionmx.store-password onionmx.store-key; do
    systemd-creds encrypt --with-key=host --name=$name $name /etc/credstore.encrypted/$name
    rm $name
done
mkdir -p {_DROP_IN}
printf '[Service]\\nLoadCredentialEncrypted=%s\\nLoadCredentialEncrypted=%s\\n' \
    onionmx.store-password onionmx.store-key >{_DROP_IN}/encrypted.conf
systemctl daemon-reload"""
_CLEAN = f"""\
rm -rf /etc/credstore/onionmx.* /etc/credstore.encrypted/onionmx.* {_DROP_IN} /etc/onionmx/onionmx.toml
systemctl daemon-reload"""


def prove(site: Site) -> None:
    """The machine shares its loopback with the two servers, which run outside of it."""
    machine = site.machine
    with ValkeyServer() as store, Bind({LOCAL: Zone("")}) as primary:
        text = _CONFIGURATION.format(local=LOCAL, store_port=store.address.port, dns_port=primary.address[1])
        machine.path("/etc/onionmx/onionmx.toml").write_text(text)
        _without(site)
        machine.run("install -d -m 0700 /etc/credstore /etc/credstore.encrypted")
        for name, secret in _SECRETS.items():
            path = machine.path(f"/etc/credstore/{name}")
            path.touch(0o600)
            path.write_text(f"{secret}\n")
        _syncs(site, store, "sync with a password in the clear")
        _publishes(site, primary)
        each_unit_opens_its_own(machine)
        machine.run("onionmx doctor --check secrets")
        machine.run(_ENCRYPT)
        _syncs(site, store, "sync with an encrypted password")
        machine.run("onionmx doctor --check secrets")
        machine.run(_CLEAN)
    machine.run(f"systemctl start {_SYNC}")


def _without(site: Site) -> None:
    """Configured, and not there: the unit starts, and says what is missing."""
    site.machine.run(f"systemctl start {_SYNC}", check=False)
    status = site.machine.read(f"systemctl show -P ExecMainStatus {_SYNC}").strip()
    if status != "78" or _MISSING not in site.machine.read(f"journalctl -o cat -u {_SYNC}"):
        raise MachineError(f"sync without its credentials ended with {status}")
    site.machine.run(f"systemctl reset-failed {_SYNC}")


def _syncs(site: Site, store: ValkeyServer, what: str) -> None:
    """By the unit and by root's hand; the server sees it."""
    store.flush()
    site.machine.run(f"systemctl start {_SYNC}")
    server = store.server()
    keys = server.ask("KEYS", "onionmx:*")
    server.close()
    if not keys:
        raise MachineError(f"{what}: nothing is in the store")
    print(f"{what}: {keys}", flush=True)
    site.machine.run("onionmx sync --status")


def _publishes(site: Site, primary: Bind) -> None:
    """By the unit; the name server has the record then."""
    onion = site.machine.read("cat /var/lib/tor/onion-mx/hostname").strip()
    wanted = f"0 5 25 {onion}."
    # The name server of the zone, which all the world asks.
    site.world.dns.records[_RECORD, "SRV"] = [wanted]
    site.machine.run(f"systemctl start {_PUBLISH}")
    answer = dns.query.tcp(
        dns.message.make_query(_RECORD, dns.rdatatype.SRV), primary.address[0], 30, port=primary.address[1]
    )
    if [record.to_text() for each in answer.answer for record in each] != [wanted]:
        raise MachineError(f"the primary name server has {answer}")
    del site.world.dns.records[_RECORD, "SRV"]
