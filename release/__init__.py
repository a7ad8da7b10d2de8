"""How a version is checked and released: `make audit` and `make release`. Nothing of it is shipped."""
