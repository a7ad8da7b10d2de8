"""tor in a machine of its own: its root is built, checked, swapped in, proven and taken back."""
