"""The Debian package: what goes into it. Its life on machines is in tests/acceptance."""
