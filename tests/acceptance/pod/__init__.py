"""The image built and the pod run by an ordinary user on Debian 13, with mail through it."""
