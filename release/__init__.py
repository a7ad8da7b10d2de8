"""How a version is checked, shown and released: `make audit`, `make docs`, `make release`. Nothing of it is shipped."""
