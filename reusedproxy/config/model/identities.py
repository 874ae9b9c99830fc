"""Defines which parts of a server's TLS depend on the request. Values only."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.rules import Format


@frozen
class IdentityRule:
    """Holds the words of a server line that are not the same for all requests: formats of `crt`, `ca-file` and
    `verifyhost` (None: constant, or not said), and `listed`, the file of identities that are known beforehand
    (`pool-identities`; "": none).

    Relative paths that the formats give begin at `crt_base` and `ca_base`.
    """

    crt: Format | None = None
    ca_file: Format | None = None
    verifyhost: Format | None = None
    listed: str = ""
    crt_base: str = ""
    ca_base: str = ""

    @property
    def formats(self) -> dict[str, Format]:
        """Returns what depends on the request, by the word of the line."""
        said = {"crt": self.crt, "ca-file": self.ca_file, "verifyhost": self.verifyhost}
        return {word: each for word, each in said.items() if each is not None}
