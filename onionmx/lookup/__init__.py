"""Answering where the mail of a domain goes."""
