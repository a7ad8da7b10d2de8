"""Looking at this machine: is it a sound onion MX, and not an open relay?"""
