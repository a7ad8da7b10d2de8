"""Defaults that more than one room needs; the route helper, which reads no configuration, is one of them."""

STATE_DIRECTORY = "/var/lib/onionmx"
MAP_NAME = "onionmx.cdb"
MAP_PATH = f"{STATE_DIRECTORY}/{MAP_NAME}"
CONFIGURATION_DIRECTORY = "/etc/onionmx"
DNSPORT = "127.0.0.1:5300"
"""Tor's DNSPort has no standard port; this one is in the community's recipes since 2016."""
CONTROL = "unix:/run/tor/control"
"""The ControlSocket of Debian's tor, in a folder where nobody but root and tor may write. No TCP port is asked unless
the configuration names it: while tor does not listen there, any local user may."""
TRANSPORT_NAME = "smtptor"
"""The name that the community's recipes give to Postfix's transport through Tor."""
