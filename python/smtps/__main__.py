"""``python -m smtps``: the command line."""

import sys

from smtps.cli import main

sys.exit(main())
