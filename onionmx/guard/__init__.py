"""The inbound guard: a policy service that counts what comes by each circuit, refuses, and closes circuits."""
