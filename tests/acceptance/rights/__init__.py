"""Whether anything of onionmx runs with rights of root, as the kernel tells."""
