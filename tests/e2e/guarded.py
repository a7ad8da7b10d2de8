"""Receiving MTAs that ask a guard, set up as docs/guard.md has it."""

from pathlib import Path

from .exim import DEBIAN_LIKE, HEAVY, Exim
from .postfix import ONION_MX, Postfix, documented, section
from .programs import PROJECT
from .receiving import CIRCUIT_OPTIONS, DOMAIN
from .socks import Address

DOCUMENT = (PROJECT / "docs" / "guard.md").read_text()
SHOWN = "127.0.0.1:10031"
"""The guard's address in the document."""
DEBIAN_DATA = """
acl_check_data:
.ifdef CHECK_DATA_LOCAL_ACL_FILE
  .include CHECK_DATA_LOCAL_ACL_FILE
.endif
  accept
"""
"""What Debian's acl/40_exim4-config_check_data has of it."""


def guarded_postfix(folder: Path, guard: Address, main: str = "") -> Postfix:
    """Write the configuration of a Postfix with circuits as addresses and a guard."""
    blocks = documented(section(DOCUMENT, "Postfix"), {SHOWN: f"{guard[0]}:{guard[1]}"})
    circuits = CIRCUIT_OPTIONS["/etc/postfix/master.cf"].rstrip()
    receiving = f"{ONION_MX.rstrip()}\n{circuits}\n{blocks['/etc/postfix/master.cf'].rstrip()}\n"
    return Postfix(folder, DOMAIN, blocks["/etc/postfix/main.cf"] + main, receiving=receiving)


def guarded_exim(folder: Path, guard: Address) -> Exim:
    """Write the configuration of an Exim with circuits as addresses and a guard."""
    file = "/etc/exim4/onionmx_guard_data"
    own = folder.parent / f"{folder.name}_guard_data"
    blocks = documented(section(DOCUMENT, "Exim"), {SHOWN: f"{guard[0]}:{guard[1]}", file: str(own)})
    own.write_text(blocks[str(own)])
    own.chmod(0o644)
    lines = blocks["/etc/exim4/conf.d/main/000_localmacros"].strip().splitlines()
    macros = dict(line.split(" = ", 1) for line in lines if line)
    parts = DEBIAN_LIKE | {
        "acl/40_check_data": DEBIAN_DATA,
        "main/50_data": "acl_smtp_data = acl_check_data\n",
    }
    return Exim(folder, DOMAIN, {"ONIONMX_AUTH_HOSTS": "", "ONIONMX_CIRCUIT_ID": "haproxy", **macros}, parts, HEAVY)
