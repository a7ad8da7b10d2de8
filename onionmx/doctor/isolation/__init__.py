"""What keeps tor and onionmx apart from the rest: units, a machine of tor's own, containers, another host."""
