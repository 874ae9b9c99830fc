"""Holds what the SPIFFE Workload API has given to this workload: certificate, key and trust bundle, in PEM.

`crt @spiffe` and `ca-file @spiffe` of server lines mean them, as others mean files. Must never know how they came.
"""

from __future__ import annotations

from attrs import frozen

#: Stands in the place of a file.
SPIFFE = "@spiffe"


@frozen
class SVID:
    """Holds an X.509-SVID: its ID, the certificate with its `chain`, its private `key`, and the `bundle` of its trust
    domain, the CAs that are trusted. `number` tells it from those before.

    `chain` is empty where the agent is not asked (`--check`): then nothing is shown, and nobody is trusted.
    """

    id: str
    chain: bytes
    key: bytes
    bundle: bytes
    number: int

    @property
    def stamps(self) -> tuple[tuple[str, int, int, int, int], ...]:
        """Returns what changes with it, as the stamps of a file do (see `build.certificates`)."""
        return ((SPIFFE, self.number, 0, 0, 0),)


#: What stands for the SVID where the agent is not asked.
NOT_ASKED = SVID("", b"", b"", b"", 0)
