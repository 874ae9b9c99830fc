"""What a configuration says about TLS, on either side. Pure values."""

from __future__ import annotations

from attrs import frozen

#: The protocol versions that can be served, oldest first.
TLS_VERSIONS = ("TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")


@frozen
class CertificateSource:
    """A `crt`, `default-crt` or `crt-list` (`kind`) of a `bind` line: a file, a directory or a bundle's name, or a list."""

    kind: str
    path: str


@frozen
class TLSOffer:
    """How handshakes are held: what may be said for a whole `bind` line, or in a `crt-list` for one certificate.

    Paths are as configured, with the base directories before them; `ca_file` may be "@system-ca". `ciphers`,
    `ciphersuites`, `curves` and `sigalgs` None: OpenSSL's own. `min_version` and `max_version` are of `TLS_VERSIONS`; no `alpn`: the
    extension is not answered. `dh_file` has DH parameters; without, `dh_size` is the size in bits of the group for DHE,
    None: DHE is not served. Ignored errors are OpenSSL's numbers (X509_V_ERR), of the client's own certificate and of
    those above it.
    """

    verify: str = "none"
    ca_file: str | None = None
    ca_verify_file: str | None = None
    crl_file: str | None = None
    ca_names: bool = True
    ignored_ca_errors: frozenset[int] = frozenset()
    ignored_crt_errors: frozenset[int] = frozenset()
    alpn: tuple[str, ...] = ("http/1.1",)
    min_version: str = "TLSv1.2"
    max_version: str = "TLSv1.3"
    ciphers: str | None = None
    ciphersuites: str | None = None
    curves: str | None = None
    sigalgs: str | None = None
    client_prefers: bool = False
    tickets: bool = True
    cache: bool = True
    lifetime: float = 300.0
    dh_file: str | None = None
    dh_size: int | None = None


@frozen
class BindTLS:
    """`ssl` on a `bind` line. `sources` in the order written; `strict_sni`: who asks for no name of ours is refused.

    `crt_base` and `ca_base` are for the paths that a `crt-list` names.
    """

    sources: tuple[CertificateSource, ...] = ()
    offer: TLSOffer = TLSOffer()
    strict_sni: bool = False
    crt_base: str = ""
    ca_base: str = ""


@frozen
class ServerTLS:
    """`ssl` and its companions on a server line. Paths are as configured, `ca_file` may be "@system-ca".

    `sni` and `verifyhost` are plain names (of `sni str(NAME)`), None when unset or not constant. `ciphers` and their like
    None: OpenSSL's own; versions are of `TLS_VERSIONS`; `resumes`: sessions are, where the server lets us.
    """

    verify: str = "required"
    ca_file: str | None = None
    crt: str | None = None
    sni: str | None = None
    verifyhost: str | None = None
    crl_file: str | None = None
    min_version: str = "TLSv1.2"
    max_version: str = "TLSv1.3"
    ciphers: str | None = None
    ciphersuites: str | None = None
    curves: str | None = None
    sigalgs: str | None = None
    tickets: bool = True
    resumes: bool = True
    alpn: tuple[str, ...] = ()
