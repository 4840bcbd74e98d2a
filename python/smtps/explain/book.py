"""The file of explanations: a form of the wire's a line, read once, when it is needed.

``(NAME KEY :PROPERTY VALUE...)``.  A ``reply`` is what a ``provider`` is known to say: its
key is the provider's.  Each form tells where it comes from (``:source``), and where that is
no RFC, when it held (``:known``).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from smtps.rpc import codec
from smtps.rpc.codec import Keyword, Value

FILE = Path(__file__).with_name("explanations.sexp")


class Form(NamedTuple):
    """An entry: its key as text, and its properties."""

    key: str
    facts: dict[str, Value]

    def text(self, name: str) -> str | None:
        """Return the property NAME, a text, or None."""
        value = self.facts.get(name)
        return value if isinstance(value, str) else None

    def words(self, name: str) -> list[str]:
        """Return the property NAME, a list, each as text; none if it is not there."""
        value = self.facts.get(name)
        return [str(word) for word in value] if isinstance(value, list) else []

    @property
    def means(self) -> str:
        """What it means, in a sentence."""
        return str(self.facts["means"])

    @property
    def source(self) -> str:
        """Where it comes from, and when that held where it is no RFC."""
        return ", ".join(str(self.facts[n]) for n in ("source", "known") if n in self.facts)


@cache
def forms(name: str) -> tuple[Form, ...]:
    """Return the entries called NAME, in the file's order."""
    return _book().get(name, ())


@cache
def _book() -> dict[str, tuple[Form, ...]]:
    found: dict[str, tuple[Form, ...]] = {}
    for line in FILE.read_text("utf-8").splitlines():
        value = codec.loads(line)
        assert isinstance(value, list)
        name, *rest = value
        key = "" if isinstance(rest[0], Keyword) else str(rest.pop(0))
        found[str(name)] = (*found.get(str(name), ()), Form(key, codec.plist(rest)))
    return found
