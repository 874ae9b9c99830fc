"""What rules can look at: one exchange as far as it has come, its two connections, and what TLS has shown of either peer.

Protocols only. Whoever carries exchanges gives the facts; everything that costs something to know is asked for, never
handed over.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from reusedproxy.wire.heads import RequestHead, ResponseHead


class Binary(bytes):
    """A sample of HAProxy's type `bin`, which is no text and no number."""

    __slots__ = ()


class Method(bytes):
    """A sample of HAProxy's type `meth`, where its type outlives its expression: in a variable."""

    __slots__ = ()


Address = IPv4Address | IPv6Address
#: bool, int, bytes (str, and meth within an expression), Method, Binary (bin) or an address; None: nothing to fetch.
Sample = bool | int | bytes | Method | Binary | Address | None


class TLSSide(Protocol):
    """One TLS connection, as its own end of it tells."""

    @property
    def version(self) -> str:
        """In HAProxy's words: "TLSv1.3"."""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of it."""

    @property
    def cipher_bits(self) -> int:
        """Of the cipher's key."""

    @property
    def sni(self) -> bytes | None:
        """The name that the client asked for."""

    @property
    def alpn(self) -> bytes:
        """The protocol agreed on; nothing if none was."""

    @property
    def resumed(self) -> bool: ...

    @property
    def verify_result(self) -> int:
        """OpenSSL's X509_V_ERR number of the last verification; 0: all is well, or nothing was shown."""

    @property
    def certificate_error(self) -> int:
        """The same number of what was first found wrong with the peer's certificate and let pass; 0: nothing."""

    @property
    def authority_error(self) -> tuple[int, int]:
        """The same of a certificate above it, and its depth in the chain."""

    @property
    def certificate(self) -> bytes | None:
        """The peer's, in DER; in a resumed session that of the first handshake."""

    @property
    def chain(self) -> list[bytes]:
        """All that the peer has shown, its own first, each in DER."""


class Facts(Protocol):
    """What can be fetched from."""

    @property
    def head(self) -> RequestHead | None: ...

    @property
    def line(self) -> bytes | None:
        """The request's first line as it came, if rules may have changed it."""

    @property
    def answer(self) -> ResponseHead | None:
        """The head of the response; None as long as there is none."""

    @property
    def source(self) -> tuple[str, int]:
        """Where the client connects from; the port is 0 of a unix socket."""

    @property
    def destination(self) -> tuple[str, int]:
        """Where it has connected to."""

    @property
    def first_request(self) -> bool:
        """Whether its connection has carried none before."""

    @property
    def frontend_name(self) -> str: ...

    @property
    def backend_name(self) -> str | None: ...

    @property
    def server_name(self) -> str | None: ...

    @property
    def listener_name(self) -> str: ...

    @property
    def client_tls(self) -> TLSSide | None:
        """None: the client's connection is in the clear."""

    @property
    def server_tls(self) -> TLSSide | None: ...

    def wall(self) -> float:
        """The time of day, in seconds since 1970."""

    def variable(self, name: str) -> Sample:
        """`req` variables end with the request's rules, `res` ones begin with the response's, as HAProxy has it."""

    def set_variable(self, name: str, value: Sample) -> None:
        """None takes it away; one of the scope that is not at hand is not set."""
