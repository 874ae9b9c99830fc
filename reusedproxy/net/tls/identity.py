"""Names who the proxy is to a server, and whom it trusts there, where that depends on the request.

A value of three parts, each read beforehand. It must never know requests, nor how an identity is chosen.
"""

from __future__ import annotations

from attrs import frozen

from reusedproxy.net.tls.files import CertificateFile
from reusedproxy.net.tls.trusts import Trusted


@frozen(cache_hash=True)
class ClientIdentity:
    """Holds what connections of one identity have in common, besides their SNI: our certificate (`ours`), the
    authorities that are trusted (`trusted`), and the name that the server's certificate must carry, whatever the SNI
    (`verified`). None, and "": as the server line says.

    Files that were read anew make another identity, so a connection of before the change never serves one of after it.
    """

    ours: CertificateFile | None = None
    trusted: Trusted | None = None
    verified: str = ""

    def __str__(self) -> str:
        words = []
        if self.ours is not None:
            words.append(f"crt {self.ours.path}")
        if self.trusted is not None:
            words.append(f"ca-file {self.trusted.path}")
        if self.verified:
            words.append(f"verifyhost {self.verified}")
        return " ".join(words)
