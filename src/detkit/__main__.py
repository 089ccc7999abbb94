"""`python -m detkit` is `detkit`."""

import sys

from detkit.cli.app import main

sys.exit(main())
