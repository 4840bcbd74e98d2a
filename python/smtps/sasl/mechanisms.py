"""The registry: which mechanisms there are, and which one to take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtps.errors import LoginError
from smtps.sasl.login import Login
from smtps.sasl.plain import Plain

REGISTRY: dict[str, Callable[[str, str], Plain | Login]] = {"PLAIN": Plain, "LOGIN": Login}
"""Mechanism by registered name, in the order of choice."""


def choose(offered: Sequence[str], wanted: Sequence[str] | None, failed: Sequence[str]) -> str:
    """Return the mechanism to try next.

    OFFERED is the server's list, WANTED the user's (None: any), FAILED what the server has
    turned down.  Raises LoginError when none is left.
    """
    order = [name.upper() for name in wanted] if wanted else list(REGISTRY)
    for name in order:
        if name in REGISTRY and name in offered and name not in failed:
            return name
    if not offered:
        raise LoginError("The server offers no login (AUTH), and the account has a user name.")
    raise LoginError(
        f"The server offers {', '.join(offered)} for the login; "
        f"{'none' if not failed else 'none other'} of {', '.join(order)} can be used."
    )
