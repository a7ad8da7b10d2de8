"""The lookup protocols of MTAs, without I/O."""
