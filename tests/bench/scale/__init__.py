"""What many onions need, simulated: the relay's pool, backoff and courier on a virtual clock."""
