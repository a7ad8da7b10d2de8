"""The MTAs beside Exim and Postfix: set up by docs/other-mtas.md, as senders and as onion MXes."""
