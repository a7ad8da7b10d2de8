"""An echo: answers a message of `onionmx selftest` with what was seen of it on its way.

It answers strangers, so what it does not do matters most. See docs/selftest.md, "Why it is no source of backscatter".
"""
