"""Says until when a certificate that was verified may count without being verified again, in resumed sessions.

OpenSSL verifies nothing when a session is resumed, and in TLS 1.3 each resumption leaves a new session, whose time
begins anew. All times are Unix times. It must never know whose certificate it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from math import inf

from OpenSSL import crypto

#: Seconds after which a peer is verified again, however often its sessions have been resumed meanwhile (RFC 8446
#: section 4.6.1: "RECOMMENDED that implementations place limits on the total lifetime").
VERIFIED_FOR = 3600.0


def first_after(now: float, ends: Iterable[float]) -> float:
    """Returns the first of these times that is still to come; inf if none is. What is over already was let pass."""
    return min((end for end in ends if end > now), default=inf)


def ends_of(chain: Iterable[crypto.X509]) -> list[float]:
    """Returns when these certificates end, as far as that can be read."""
    found = []
    for each in chain:
        said = each.get_notAfter() or b""
        # Not strptime, which imports a module when it is first called: there is none in a chroot.
        if len(said) != len(b"YYYYMMDDhhmmssZ") or not said[:-1].isdigit():
            continue
        month, day, hour, minute, second = (int(said[at : at + 2]) for at in range(4, 14, 2))
        try:
            found.append(datetime(int(said[:4]), month, day, hour, minute, second, tzinfo=timezone.utc).timestamp())
        except ValueError:
            continue
    return found
