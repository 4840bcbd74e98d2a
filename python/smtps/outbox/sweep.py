"""Deletes mails that were sent long ago: sent/ keeps them as long as the user wants."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from smtps.errors import OutboxError
from smtps.outbox import overview
from smtps.outbox.afterwork import pending
from smtps.outbox.spool import Spool

DAY_SECONDS = 24 * 60 * 60


def sweep(spool: Spool, days: int, stopped: Callable[[], bool] = lambda: False) -> int:
    """Delete what was sent more than DAYS ago, and return how many mails that were.

    Left are those of which something is still to be done.  It ends early once STOPPED.
    Raises OutboxError if the outbox can't be read.
    """
    before = time.time() - days * DAY_SECONDS
    # Names begin with the time of writing, and nothing was sent before that.
    newest = time.strftime("%Y%m%dT%H%M%S", time.gmtime(max(0, before)))
    count = 0
    for name in spool.names("sent"):
        if name > newest or stopped():
            break
        directory = spool.place("sent", name)
        # Whoever changes an entry touches its directory; moved or locked, it is another's.
        with contextlib.suppress(FileNotFoundError, OutboxError):
            if directory.stat().st_mtime < before and not pending(directory):
                overview.drop(spool, overview.Listed(name, "sent", None, [], None, []))
                count += 1
    return count
