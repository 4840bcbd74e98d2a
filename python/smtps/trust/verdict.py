"""What is wrong with a certificate, in words: which check failed, and what that may mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from smtps.errors import UNSENT, CertificateError


class Words(NamedTuple):
    """REASON ends “the certificate …”; MEANING is a sentence."""

    reason: str
    meaning: str


_UNKNOWN = (
    "That is usual for a private server, whose own authority --ca-file or :ca-file names; from "
    "a public one it means that somebody may be in between."
)
_OLD = "Whoever runs the server has to put a new one there."

BY_CODE = {
    9: Words("is not valid yet", "Is this machine's clock right?"),
    10: Words("has expired", "Is this machine's clock right? " + _OLD),
    18: Words("is signed by itself, by nobody that this machine trusts", _UNKNOWN),
    19: Words("ends in a root that this machine does not trust", _UNKNOWN),
    20: Words("has an issuer that is not known to this machine", _UNKNOWN),
    21: Words("has an issuer that is not known to this machine", _UNKNOWN),
    26: Words("is not meant for servers", _OLD),
    62: Words("is for another name", "Is the host's name right? Else this is another server."),
    64: Words("is for another address", "Use the name that the certificate has."),
    66: Words("has a key that is too short to be safe", _OLD),
    67: Words("has an issuer whose key is too short to be safe", _OLD),
    68: Words("is signed by an outdated digest (SHA-1 or MD5)", _OLD),
}
"""OpenSSL's verify codes (X509_V_ERR)."""


def refused(
    host: str, code: int, message: str, names: Sequence[str], offer: str
) -> CertificateError:
    """Return the error for a certificate of HOST that failed the check CODE (MESSAGE).

    NAMES are those it is for; OFFER is a sentence how its key could be trusted all the same.
    The detail ``told`` is the text without it, for who is asked about that.
    """
    words = BY_CODE.get(code, Words(f"did not pass ({_plain(message)})", ""))
    reason = words.reason
    if code in (62, 64):
        reason += f" ({', '.join(names[:5]) or 'for none'})"
    told = f"The certificate of {host} {reason}. {UNSENT} {words.meaning}".strip()
    return CertificateError(
        f"{told} {offer}".strip(), host=host, reason=f"the certificate {reason}", told=told
    )


def another_key(host: str, port: int, shown: str, where: str | None) -> CertificateError:
    """Return the error for a server that SHOWED another key than it has to.

    WHERE is the file that has its pin, None for a key that was trusted for once.
    The detail ``told`` is as of `refused`.
    """
    key = "that it is pinned to" if where else "that was trusted for this once"
    step = f"change its line in {where}" if where else "try again: authorities decide then"
    told = (
        f"{host} at port {port} does not have the key {key}: SOMEBODY MAY BE IN BETWEEN. "
        f"{UNSENT} It showed {shown}."
    )
    return CertificateError(
        f"{told} If the server really has a new key, {step}.",
        host=host,
        reason=f"the key is not the one {key}",
        told=told,
    )


def _plain(message: str) -> str:
    return re.sub(r"[^ -~]", "?", message)[:100]
