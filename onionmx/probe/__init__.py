"""Looking at an onion MX from outside, step by step and with timings; no message is ever sent."""
