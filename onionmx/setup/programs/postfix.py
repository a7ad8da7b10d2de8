"""Postfix's part: transports and services in master.cf, parameters in main.cf; texts only.

The lines are those of docs/postfix.md and docs/receiving.md.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from onionmx.errors import ConfigurationError
from onionmx.setup.programs.blocks import appended
from onionmx.setup.programs.main_cf import parameter, services, with_new_parameters, with_parameter

MAIN = "/etc/postfix/main.cf"
MASTER = "/etc/postfix/master.cf"
PROGRAM = "/usr/sbin/postconf"
LOG = "/var/log/mail.log"
TABLE = "/var/lib/onionmx/transport"
TRANSPORT = "onion"

_TRANSPORT = f"""\
{TRANSPORT}     unix  -       -       n       -       100     lmtp
  -o syslog_name=postfix/onion
  -o lmtp_data_xfer_timeout=600s
  -o lmtp_data_done_timeout=600s
  -o lmtp_fallback_relay=
  -o lmtp_tls_security_level=none
"""
_LIMITS = {
    f"{TRANSPORT}_destination_concurrency_limit": "100",
    f"{TRANSPORT}_initial_destination_concurrency": "20",
}
_SERVICE = """\
{listen} inet  n    -       {chroot}       -       50      smtpd
  -o syslog_name=postfix/onion-mx
  -o mynetworks=
  -o smtpd_client_restrictions=
  -o smtpd_helo_restrictions=
  -o smtpd_sender_restrictions=
  -o smtpd_relay_restrictions=reject_unauth_destination
  -o smtpd_recipient_restrictions=reject_unlisted_recipient
  -o smtpd_etrn_restrictions=reject
  -o smtpd_sasl_auth_enable=no
  -o smtpd_authorized_xclient_hosts=
  -o smtpd_authorized_xforward_hosts=
  -o disable_vrfy_command=yes
  -o allow_untrusted_routing=no
  -o local_header_rewrite_clients=
  -o smtpd_peername_lookup=no
  -o smtpd_client_event_limit_exceptions=127.0.0.1
"""
_LOOPBACK = IPv4Network("127.0.0.0/8")
_MAPPED = IPv6Network("::ffff:127.0.0.0/104")
_HERE = "127.0.0.1/32"
_ONION_CLIENTS = IPv4Network("127.0.0.2/32")


def master(text: str, *, send: bool, listen: str) -> str:
    """master.cf with the transport to the relay and the service for the onion service's clients, where it lacks them.

    Args:
        text: without our blocks.
        send: whether mail goes to the relay.
        listen: IP:PORT that the onion service leads to; empty for none.
    """
    there = services(text)
    body = ""
    if send and (TRANSPORT, "unix") not in there:
        body += _TRANSPORT
    if listen and (listen, "inet") not in there:
        body += _SERVICE.format(listen=listen, chroot=_chroot(text))
    return appended(text, body) if body else text


def _chroot(text: str) -> str:
    """The chroot column of the smtpd that is there: a server whose jail was never made must not get one."""
    for line in text.split("\n"):
        words = line.split()
        if len(words) > 7 and words[1] == "inet" and words[7] == "smtpd" and words[4] in ("y", "n"):  # noqa: PLR2004
            return words[4]
    return "y"


def sending(text: str, *, domains: Sequence[str], result: str, table: str) -> str:
    """main.cf with our lookups in front of those of `transport_maps`.

    Args:
        text: without our blocks, or with blocks for other parameters.
        domains: of this host, which never go over Tor.
        result: transport of the relay, as `onion:inet:127.0.0.1:10026`.
        table: what is asked for all other domains, as `cdb:/var/lib/onionmx/transport`.
    """
    limits = {name: number for name, number in _LIMITS.items() if parameter(text, name) is None}
    there = parameter(text, "transport_maps")
    if there is None or table not in there[1].replace(",", " ").split():
        old = there[1].strip() if there else ""
        # Where there are lookups already, one of them may lead a local domain to another host, and must be asked.
        local = "" if old else _local(domains)
        value = f"{local}\n  inline:{{\n    {{ .onion = {result} }}\n  }}\n  {table}"
        text = with_parameter(text, "transport_maps", f"{value}\n  {old}" if old else value)
    return with_new_parameters(text, limits)


def _local(domains: Sequence[str]) -> str:
    """The lookup that leaves mail for local domains alone.

    It matches addresses: Postfix asks all tables for user@domain before it asks any for the domain, and one that cannot
    be asked, as while `onionmx serve` is stopped, would hold up this mail too.
    """
    patterns = (domain.replace(".", r"\.") for domain in domains)
    lines = [f"    {{ /(^|@){pattern}$$/ : }}\n" for pattern in patterns]
    return f"\n  regexp:{{\n{''.join(lines)}  }}" if lines else ""


def narrowed(networks: Iterable[str]) -> list[str] | None:
    """`mynetworks` with 127.0.0.1 for any larger part of 127.0.0.0/8; `None` where it is narrow already.

    Args:
        networks: its items, as `postconf -x` prints them.

    Raises:
        ConfigurationError: a network that is larger than 127.0.0.0/8 holds 127.0.0.2.
    """
    result: list[str] = []
    changed = False
    for item in networks:
        try:
            network = ip_network(item.replace("[", "").replace("]", ""), strict=False)
        except ValueError:  # a file, a table or an exclusion
            result.append(item)
            continue
        if isinstance(network, IPv6Network):
            is_mapped = network.subnet_of(_MAPPED) and network.prefixlen < network.max_prefixlen
            changed = changed or is_mapped
            result += [] if is_mapped else [item]
        elif network.supernet_of(_ONION_CLIENTS) and not network.subnet_of(_LOOPBACK):
            raise ConfigurationError(f"{MAIN}: mynetworks has {item}: an open relay; name your own networks there")
        elif network.subnet_of(_LOOPBACK):
            changed = changed or network != ip_network(_HERE)
            result.append(_HERE)
        else:
            result.append(item)
    return list(dict.fromkeys(result)) if changed else None


def receiving(text: str, networks: str) -> str:
    """main.cf with a `mynetworks` that does not hold the clients of the onion service.

    Args:
        text: without our blocks, or with blocks for other parameters.
        networks: the value in effect.

    Raises:
        ConfigurationError: see `narrowed`.
    """
    items = narrowed(networks.replace(",", " ").split())
    return text if items is None else with_parameter(text, "mynetworks", " ".join(items))
