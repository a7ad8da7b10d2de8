"""Keys of onion services and of their clients: handed out, taken back, kept safe."""
