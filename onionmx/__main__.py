"""`python -m onionmx` is the `onionmx` command."""

import sys

from onionmx.cli import main

sys.exit(main())
