"""Defines the TLS settings of a configuration, for listeners and servers. Values only."""

from __future__ import annotations

from attrs import frozen

#: Supported protocol versions, oldest first.
TLS_VERSIONS = ("TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")


@frozen
class CertificateSource:
    """Holds a `crt`, `default-crt` or `crt-list` (`kind`) of a `bind` line; `path` is a file, a directory, a
    bundle's name or a list. `key` is the file of its key, where a `crt-store` says one."""

    kind: str
    path: str
    key: str | None = None


@frozen
class StoredCertificate:
    """Holds a `load` line of a `crt-store`: the name by which `crt` asks for it, and its files. `key` None: it is in
    the first of these, or beside it."""

    name: str
    path: str
    key: str | None = None


@frozen
class ListEntry:
    """Says in which line of which `crt-list` a certificate stands, with which options, in HAProxy's order."""

    list: str
    line: int
    options: str


@frozen
class TLSOffer:
    """Holds the handshake settings that a whole `bind` line may have, or one certificate in a `crt-list`.

    Paths are as configured, with the base directories prepended; `ca_file` may be "@system-ca". `ciphers`,
    `ciphersuites`, `curves`, `sigalgs` and `client_sigalgs` None: OpenSSL's defaults. `min_version` and `max_version`
    are of `TLS_VERSIONS`. An empty `alpn`: the extension is not answered. `dh_file` has DH parameters; without it,
    `dh_size` is the size in bits of the DHE group, and None: DHE is not offered. Ignored errors are OpenSSL's numbers
    (X509_V_ERR), for the client's own certificate and for the ones above it. `capture` is how many bytes are kept of
    the lists in a client's first message, for rules about them.
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
    client_sigalgs: str | None = None
    client_prefers: bool = False
    tickets: bool = True
    cache: bool = True
    lifetime: float = 300.0
    capture: int = 0
    dh_file: str | None = None
    dh_size: int | None = None


@frozen
class BindTLS:
    """Holds `ssl` on a `bind` line. `sources` are in the order written.

    `strict_sni`: a client that asks for no name of a certificate is refused. `crt_base`, `ca_base` and the certificates
    that are `stored` are for what a `crt-list` names.
    """

    sources: tuple[CertificateSource, ...] = ()
    offer: TLSOffer = TLSOffer()
    strict_sni: bool = False
    crt_base: str = ""
    ca_base: str = ""
    stored: tuple[StoredCertificate, ...] = ()


@frozen
class ServerTLS:
    """Holds `ssl` and its companions on a server line. Paths are as configured, `ca_file` may be "@system-ca".

    `sni` and `verifyhost` are plain names (of `sni str(NAME)`), None when unset or not constant. `ciphers`,
    `ciphersuites`, `curves`, `sigalgs` and `client_sigalgs` None: OpenSSL's defaults. Versions are of `TLS_VERSIONS`.
    `resumes`: sessions are resumed where the server allows it. `key` is as in `CertificateSource`. `pins` are those of
    keys (`pin-sha256`), of which one must be in the chain; none: any key. `ocsp` is "none" (no answer is asked for),
    "optional" (one that the server staples counts) or "required". `spiffe` are IDs of workloads, of which the
    certificate must have one; then no name is verified; one that ends in /* is for all below. `crl_fetched`: the lists
    in `crl_file` are fetched (`crl-url`), so the file may not be there yet.
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
    client_sigalgs: str | None = None
    tickets: bool = True
    resumes: bool = True
    alpn: tuple[str, ...] = ()
    key: str | None = None
    pins: tuple[str, ...] = ()
    ocsp: str = "optional"
    crl_fetched: bool = False
    spiffe: tuple[str, ...] = ()
    #: The words of the line whose values depend on the request (`model.identities`).
    by_request: tuple[str, ...] = ()


@frozen
class ListURL:
    """Holds the URL of a list of revoked certificates (`crl-url`): host, port, and the target of the request; `text` is
    the URL as it was written."""

    text: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Returns the value of the field Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"


@frozen
class Revocations:
    """Says where the lists of a `crl-file` are fetched, and after how many seconds again."""

    urls: tuple[ListURL, ...]
    refresh: float = 3600.0
