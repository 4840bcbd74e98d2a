"""Files that decide about secrets: nobody else may have written them."""

from __future__ import annotations

import os
import stat

from smtps.errors import ConfigurationError


def refuse_if_others_write(shown: str, status: os.stat_result) -> None:
    """Raise ConfigurationError if STATUS tells that others can write the file SHOWN."""
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            f"{shown} can be written by others, so it is not used: chmod 600 {shown}."
        )
