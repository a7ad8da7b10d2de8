"""The inbound guard: a policy service that counts what comes in over each circuit, refuses, and closes circuits."""
