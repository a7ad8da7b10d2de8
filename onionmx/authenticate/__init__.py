"""Whether a domain demands that its MX proves itself, and whether an onion MX does: MTA-STS and DANE, over Tor."""
