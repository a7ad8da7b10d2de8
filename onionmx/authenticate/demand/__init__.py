"""What a domain demands of the hosts that take its mail: DANE and MTA-STS."""
