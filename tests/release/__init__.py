"""Releasing: the audit of dependencies, and a release from a clone."""
