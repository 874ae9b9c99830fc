"""Says until when a certificate that was verified may count without being verified again, in resumed sessions.

OpenSSL verifies nothing when a session is resumed, and in TLS 1.3 each resumption leaves a new session, whose time
begins anew. All times are Unix times. It must never know whose certificate it is.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterable
from math import inf
from time import strptime

from OpenSSL import crypto

#: Seconds after which a peer is verified again, however often its sessions have been resumed meanwhile (RFC 8446
#: section 4.6.1: "RECOMMENDED that implementations place limits on the total lifetime").
VERIFIED_FOR = 3600.0


def first_after(now: float, ends: Iterable[float]) -> float:
    """Returns the first of these times that is still to come; inf if none is. What is over already was let pass."""
    return min((end for end in ends if end > now), default=inf)


def ends_of(chain: Iterable[crypto.X509]) -> list[float]:
    """Returns when these certificates end, as far as that can be read."""
    said = [each.get_notAfter() for each in chain]
    found = []
    for end in said:
        try:
            found.append(float(timegm(strptime((end or b"").decode("ascii"), "%Y%m%d%H%M%SZ"))))
        except ValueError:
            continue
    return found
