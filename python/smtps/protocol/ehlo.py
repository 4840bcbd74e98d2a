"""What a server says it can do: the lines of its reply to EHLO (RFC 5321 4.1.1.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from smtps.protocol.replies import Reply


class Extensions(Mapping[str, tuple[str, ...]]):
    """Keyword, in capitals, to its parameters.  Empty when EHLO was not (yet) accepted."""

    def __init__(self, reply: Reply | None = None) -> None:
        self._offered: dict[str, tuple[str, ...]] = {}
        mechanisms: list[str] = []
        for line in reply.lines[1:] if reply else ():
            # "AUTH=LOGIN" is how servers older than RFC 2554 wrote "AUTH LOGIN".
            words = line.decode("ascii", "replace").replace("AUTH=", "AUTH ", 1).split()
            if not words:
                continue
            keyword = words[0].upper()
            if keyword == "AUTH":
                mechanisms += (word.upper() for word in words[1:])
                self._offered["AUTH"] = tuple(dict.fromkeys(mechanisms))
            else:
                self._offered.setdefault(keyword, tuple(words[1:]))

    def __getitem__(self, keyword: str) -> tuple[str, ...]:
        return self._offered[keyword]

    def __iter__(self) -> Iterator[str]:
        return iter(self._offered)

    def __len__(self) -> int:
        return len(self._offered)

    def without(self, keywords: Collection[str]) -> Extensions:
        """Return these but for KEYWORDS."""
        left = Extensions()
        left._offered = {key: words for key, words in self.items() if key not in keywords}
        return left

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """SASL mechanisms, in capitals, in the server's order (RFC 4954 section 3)."""
        return self.get("AUTH", ())

    def number(self, keyword: str) -> int | None:
        """Return the first parameter of KEYWORD as a number, None if it is none."""
        return _number(next(iter(self.get(keyword, ())), ""))

    @property
    def size(self) -> int | None:
        """Octets of the largest message the server takes, None if not told (RFC 1870)."""
        return self.number("SIZE") or None

    def limit(self, name: str) -> int | None:
        """Return the limit NAME (RCPTMAX, MAILMAX, RCPTDOMAINMAX) of LIMITS (RFC 9422)."""
        for word in self.get("LIMITS", ()):
            key, _, value = word.partition("=")
            if key.upper() == name:
                return _number(value) or None
        return None


def _number(text: str) -> int | None:
    # Twenty digits are RFC 1870's most; a longer one is no number of anything here.
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    return int(text)
