"""What decides which route a domain has: values in, values out, no I/O; see `onionmx.sync.judge.policy`."""
