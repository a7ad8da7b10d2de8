"""Whether an onion MX meets the demand."""
