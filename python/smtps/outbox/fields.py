"""What the forms of an entry may hold, field by field: what is of another type is damage.

Emacs has the same table (`smtps-outbox--fields`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtps.errors import WireError
from smtps.protocol.outcome import Verdict
from smtps.rpc.codec import Symbol, Value, plist

LAST_TIME = 253402300799
"""The end of the year 9999 in seconds since 1970: what is later can't be shown."""

_VERDICTS = frozenset(verdict.value for verdict in Verdict)

_Kind = Callable[[Value], bool]


def _number(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _time(value: Value) -> bool:
    return isinstance(value, int) and _number(value) and 0 <= value <= LAST_TIME


def _text(value: Value) -> bool:
    return type(value) is str


def _name(value: Value) -> bool:
    return isinstance(value, Symbol)


def _verdict(value: Value) -> bool:
    # One of a later version: what it stands for can't be known here.
    return _name(value) and value in _VERDICTS


def _flag(value: Value) -> bool:
    return value is True or value is False or value is None or value == []


def _numbers(value: Value) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _names(value: Value) -> bool:
    return value is None or (
        isinstance(value, list) and all(_name(each) or _text(each) for each in value)
    )


def _maybe(kind: _Kind) -> _Kind:
    return lambda value: value is None or value == [] or kind(value)


_number_or_none, _time_or_none, _text_or_none = _maybe(_number), _maybe(_time), _maybe(_text)

ADDRESSED = frozenset({"mail", "rcpt"})
"""The forms that begin with an address."""

FIELDS: dict[str, dict[str, _Kind]] = {
    "envelope": {
        "version": _number, "id": _text, "created": _time, "message-id": _text, "size": _number,
        "not-before": _time_or_none,
    },
    "account": {
        "host": _text, "port": _number, "tls": _name, "name": _text_or_none,
        "user": _text_or_none, "ca-file": _text_or_none, "mechanisms": _names,
        "password-command": _text_or_none, "author": _text_or_none,
        "client-certificate": _text_or_none, "client-key": _text_or_none, "send-in-clear": _flag,
    },
    "mail": {
        "ret": _text_or_none, "envid": _text_or_none, "deliver-by": _text_or_none,
        "hold-for": _number_or_none, "hold-until": _text_or_none, "priority": _number_or_none,
        "require-tls": _flag, "all-or-none": _flag,
    },
    "rcpt": {"notify": _names, "orcpt": _text_or_none},
    "attempt": {"number": _number, "time": _time_or_none, "once": _flag},
    "commit": {"attempt": _number_or_none, "recipients": _numbers},
    "result": {
        "attempt": _number_or_none, "recipient": _number, "verdict": _verdict,
        "code": _number_or_none, "enhanced": _text_or_none, "text": _text_or_none,
    },
    "outcome": {
        "attempt": _number_or_none, "verdict": _verdict, "text": _text_or_none,
        "next": _time_or_none,
    },
    "retry": {"time": _time_or_none, "others": _flag, "now": _flag, "uncertain": _flag},
    "transcript": {"attempt": _number_or_none, "text": _text_or_none},
}  # fmt: skip


def assert_fitting(name: str, rest: Sequence[Value]) -> None:
    """Raise WireError if the form NAME may not hold REST."""
    fields = FIELDS.get(name)
    if fields is None:
        return
    if name in ADDRESSED:
        if not rest or not _text(rest[0]):
            raise WireError(f"The form {name} has no address.")
        rest = rest[1:]
    facts = plist(list(rest))
    for key, fits in fields.items():
        if not fits(facts.get(key)):
            raise WireError(f"The field {key} of the form {name} holds what it can't.")
