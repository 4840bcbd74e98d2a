"""What the keywords of a reply to EHLO mean, in words (RFC 5321 4.1.1.1, IANA's registry)."""

from __future__ import annotations

from smtps.protocol.ehlo import Extensions
from smtps.protocol.visible import visible

MEANINGS = {
    "8BITMIME": "takes text with 8-bit characters as it is (RFC 6152)",
    "AUTH": "takes logins by these mechanisms (RFC 4954)",
    "BINARYMIME": "takes binary messages, with lines of any length (RFC 3030)",
    "CHUNKING": "takes messages in chunks, without looking for a dot (RFC 3030)",
    "DELIVERBY": "takes a time to deliver by (RFC 2852)",
    "DSN": "sends delivery notices as asked for (RFC 3461)",
    "ENHANCEDSTATUSCODES": "tells more precise codes (RFC 2034)",
    "ETRN": "starts its queue on demand (RFC 1985)",
    "FUTURERELEASE": "holds a mail until a later time (RFC 4865)",
    "HELP": "has HELP (RFC 5321)",
    "LIMITS": "tells its limits (RFC 9422)",
    "MT-PRIORITY": "takes priorities (RFC 6710)",
    "PIPELINING": "takes several commands in one flight (RFC 2920)",
    "REQUIRETLS": "can promise TLS on the whole way (RFC 8689)",
    "SIZE": "tells the largest message it takes, in octets (RFC 1870)",
    "SMTPUTF8": "takes addresses beyond ASCII (RFC 6531)",
    "STARTTLS": "can start TLS (RFC 3207)",
    "VRFY": "has VRFY (RFC 5321)",
    "XCLIENT": "takes other clients' names from those it trusts (Postfix)",
}


def explained(offered: Extensions) -> list[str]:
    """Return a line for each keyword that was OFFERED: it, its parameters, and what it means."""
    lines = []
    for keyword, words in offered.items():
        said = visible(" ".join([keyword, *words]))
        meaning = MEANINGS.get(keyword)
        lines.append(f"{said}: {meaning}" if meaning else said)
    return lines
