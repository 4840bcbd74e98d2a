"""Run the command line from wherever this directory lies: ``python3 -I DIR/python VERB``.

This file keeps to syntax that an old Python can read, so that an old one is told so.
"""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        "smtps: needs Python 3.11 or newer, and %s is Python %d.%d\n"
        % ((sys.executable or "this",) + sys.version_info[:2])
    )
    sys.exit(78)

from smtps.cli import main

sys.exit(main())
