"""The status page: what is shown is gathered, made ready, and rendered by a template; without a script."""
