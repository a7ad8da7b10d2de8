"""The log of the daemons: text, JSON, or the journal's own fields; the same names of fields in each.

A module logs with `logging`, and gives the fields of an event beside its text: `extra=fields("delivered", id=...)`.
"""

from onionmx.log.fields import fields

__all__ = ["fields"]
