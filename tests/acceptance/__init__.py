"""Acceptance: booted Debian machines, set up as an administrator does it. `python -m tests.acceptance --help`."""
