"""Speaking to tor."""
