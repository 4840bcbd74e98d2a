"""Channel binding (RFC 5056): which TLS connection a login belongs to.

Python's ssl can't export TLS 1.3's own (``tls-exporter``, RFC 9266), and its ``tls-unique`` is
meaningless there.  ``tls-server-end-point`` (RFC 5929 section 4) is good for every version.
"""

from __future__ import annotations

import hashlib

NAME = "tls-server-end-point"


def end_point(certificate: bytes | None) -> bytes | None:
    """Return the binding to a server's CERTIFICATE (DER), None if there can't be one."""
    if not certificate:
        return None
    from asn1crypto import x509

    try:
        digest = x509.Certificate.load(certificate, strict=True).hash_algo
        # Weak ones are replaced; a signature without a digest of its own has no binding.
        return hashlib.new("sha256" if digest in ("md5", "sha1") else digest, certificate).digest()
    except (ValueError, TypeError, KeyError):
        return None
