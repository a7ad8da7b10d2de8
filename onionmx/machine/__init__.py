"""tor in a machine of its own: its root is built, checked, swapped in, tried and, if it fails, undone."""
