"""Parses the TLS words of `bind` lines, `server` lines, their `ssl-default-*-options`, and the brackets of a
`crt-list`.

The settings of each place are collected in one `TLSWords`; `finished_tls` merges the layers: the defaults of OpenSSL
and of this program, the global section, the line. Opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import Factory, define, evolve, frozen

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.parameters import read_parameters
from reusedproxy.config.language.report import Wrong, did_you_mean, nearest, not_done, one_of
from reusedproxy.config.model.tls import TLS_VERSIONS, BindTLS, CertificateSource, StoredCertificate, TLSOffer
from reusedproxy.config.tls import x509_errors

#: Words allowed in the brackets of a `crt-list`; HAProxy's list.
IN_CRT_LIST = frozenset(
    [
        "allow-0rtt",
        "alpn",
        "ca-file",
        "ca-verify-file",
        "ciphers",
        "ciphersuites",
        "client-sigalgs",
        "crl-file",
        "curves",
        "ecdhe",
        "ktls",
        "no-alpn",
        "no-ca-names",
        "npn",
        "ocsp-update",
        "sigalgs",
        "ssl-max-ver",
        "ssl-min-ver",
        "verify",
    ]
)
#: Words allowed in `ssl-default-bind-options`.
IN_DEFAULTS = frozenset(
    [
        "force-sslv3",
        "force-strict-sni",
        "force-tlsv10",
        "force-tlsv11",
        "force-tlsv12",
        "force-tlsv13",
        "no-sslv3",
        "no-strict-sni",
        "no-tls-tickets",
        "no-tlsv10",
        "no-tlsv11",
        "no-tlsv12",
        "no-tlsv13",
        "prefer-client-ciphers",
        "ssl-max-ver",
        "ssl-min-ver",
        "strict-sni",
        "tls-tickets",
    ]
)
#: Words allowed on server lines and, in part, in `ssl-default-server-options` (manual, section 5.2).
ON_SERVERS = frozenset(
    [
        "alpn",
        "ciphers",
        "ciphersuites",
        "client-sigalgs",
        "crl-file",
        "curves",
        "force-sslv3",
        "force-tlsv10",
        "force-tlsv11",
        "force-tlsv12",
        "force-tlsv13",
        "no-sslv3",
        "no-tls-tickets",
        "no-tlsv10",
        "no-tlsv11",
        "no-tlsv12",
        "no-tlsv13",
        "sigalgs",
        "ssl-max-ver",
        "ssl-min-ver",
        "tls-tickets",
    ]
)
IN_SERVER_DEFAULTS = ON_SERVERS & IN_DEFAULTS
#: What `ca-file` says for the system's CAs.
SYSTEM_CA = "@system-ca"
#: Likewise: what the SPIFFE Workload API gives.
SPIFFE = "@spiffe"
_DEFAULT_MINIMUM = "TLSv1.2"
_SPOKEN = ("http/1.1", "http/1.0")
_LATER = ("h2", "h3", "hq-interop")


@define
class TLSWords:
    """Holds TLS settings from one place. `said` are fields of a `TLSOffer`; `off` are disabled versions."""

    said: dict[str, Any] = Factory(dict)
    sources: list[CertificateSource] = Factory(list)
    off: set[str] = Factory(set)
    minimum: str | None = None
    maximum: str | None = None
    strict: bool | None = None
    words: set[str] = Factory(set)

    def copy(self) -> TLSWords:
        """Returns an independent copy."""
        return evolve(self, said=dict(self.said), sources=[*self.sources], off=set(self.off), words=set(self.words))

    def read(self, word: str, argument: str, what: str) -> bool:
        """Reads one word; returns whether it is an implemented TLS word. Raises Wrong."""
        if word not in _DONE:
            return False
        self.words.add(word)
        _DONE[word](self, argument, f"{what}: '{word}'")
        return True


Setter = Callable[[TLSWords, str, str], None]


def _value(field: str, parse: Callable[[str, str], object]) -> Setter:
    def set_field(words: TLSWords, argument: str, what: str) -> None:
        words.said[field] = parse(argument, what)

    return set_field


def _flag(field: str, value: object) -> Setter:
    return _value(field, lambda argument, what: value)


def _strict(value: bool) -> Setter:
    def set_strict(words: TLSWords, argument: str, what: str) -> None:
        words.strict = value

    return set_strict


def _text(argument: str, what: str) -> str:
    return argument


def _source(kind: str) -> Setter:
    return lambda words, argument, what: words.sources.append(CertificateSource(kind, argument))


def _version(argument: str, what: str) -> str:
    if argument == "SSLv3":
        raise Wrong(f"{what}: OpenSSL has no SSLv3 any more: write 'TLSv1.0'")
    return one_of(argument, TLS_VERSIONS, what)


def _minimum(words: TLSWords, argument: str, what: str) -> None:
    words.minimum = _version(argument, what)


def _maximum(words: TLSWords, argument: str, what: str) -> None:
    words.maximum = _version(argument, what)


def _only(version: str) -> Setter:
    def force(words: TLSWords, argument: str, what: str) -> None:
        words.minimum = words.maximum = _version(version, what)

    return force


def _without(version: str) -> Setter:
    return lambda words, argument, what: words.off.add(version)


def _verify(argument: str, what: str) -> str:
    return one_of(argument, ("none", "optional", "required"), what)


def _protocols(argument: str, what: str) -> tuple[str, ...]:
    names = tuple(argument.split(","))
    if not all(0 < len(name) < 256 and name.isascii() for name in names):
        raise Wrong(f"{what}: 'alpn' needs names of protocols with commas between them, not '{argument}'")
    return names


def _check_protocols(names: tuple[str, ...], what: str) -> None:
    """Checks that these protocols are spoken here, as in `mode http` they have to be. Raises Wrong."""
    for name in names:
        if name in _LATER:
            rest = ",".join(each for each in names if each in _SPOKEN) or "http/1.1"
            raise Wrong(f"{what}: reusedproxy does not speak '{name}' yet: write 'alpn {rest}'")
        if name not in _SPOKEN:
            raise Wrong(f"{what}: '{name}' is not spoken here: it is a list of 'http/1.1' and 'http/1.0'")


def offered_protocols(names: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Returns those of these protocols that clients can be offered: without HTTP/2 and HTTP/3, if others are left.
    Raises Wrong."""
    rest = tuple(each for each in names if each not in _LATER) or names
    _check_protocols(rest, what)
    return rest


def not_offered(names: tuple[str, ...], rest: tuple[str, ...]) -> str:
    """Says what clients are offered of these protocols, which are more."""
    return f"'alpn {','.join(names)}' offers {' and '.join(rest)} only: HTTP/2 and HTTP/3 are not done yet"


def _judged(words: TLSWords, argument: str, what: str) -> None:
    """Reads `npn`, which offers nothing to anybody any more."""
    _protocols(argument, what)


def _curve(words: TLSWords, argument: str, what: str) -> None:
    """Sets `ecdhe`; as in HAProxy, `curves` takes precedence."""
    words.said.setdefault("curves", argument)


def _errors(argument: str, what: str) -> frozenset[int]:
    """Parses a list of numbers or names (with or without X509_V_ERR_), or `all`. Raises Wrong."""
    if argument == "all":
        return x509_errors.ALL
    numbers = set()
    for each in argument.split(","):
        name = each.upper() if each.upper().startswith("X509_V_ERR_") else f"X509_V_ERR_{each.upper()}"
        if re.match(r"[0-9]{1,9}\Z", each) and int(each) in x509_errors.ALL:
            numbers.add(int(each))
        elif name in x509_errors.NUMBERS:
            numbers.add(x509_errors.NUMBERS[name])
        else:
            near = None if each.isdigit() else nearest(name, map(str.lower, x509_errors.NUMBERS))
            hint = f": did you mean '{near.upper()}'?" if near else ""
            raise Wrong(
                f"{what}: '{each}' is none of OpenSSL's verification errors, by number or name, nor 'all'{hint}"
            )
    return frozenset(numbers)


_DONE: dict[str, Setter] = {
    "crt": _source("crt"),
    "default-crt": _source("default-crt"),
    "crt-list": _source("crt-list"),
    "strict-sni": _strict(True),
    "force-strict-sni": _strict(True),
    "no-strict-sni": _strict(False),
    "verify": _value("verify", _verify),
    "ca-file": _value("ca_file", _text),
    "ca-verify-file": _value("ca_verify_file", _text),
    "crl-file": _value("crl_file", _text),
    "no-ca-names": _flag("ca_names", False),
    "ca-ignore-err": _value("ignored_ca_errors", _errors),
    "crt-ignore-err": _value("ignored_crt_errors", _errors),
    "alpn": _value("alpn", _protocols),
    "no-alpn": _flag("alpn", ()),
    # Browsers dropped NPN in 2016, and OpenSSL's binding has no call for it; its argument is still checked.
    "npn": _judged,
    "ciphers": _value("ciphers", _text),
    "ciphersuites": _value("ciphersuites", _text),
    "curves": _value("curves", _text),
    "ecdhe": _curve,
    "sigalgs": _value("sigalgs", _text),
    "client-sigalgs": _value("client_sigalgs", _text),
    "prefer-client-ciphers": _flag("client_prefers", True),
    "tls-tickets": _flag("tickets", True),
    "no-tls-tickets": _flag("tickets", False),
    "ssl-min-ver": _minimum,
    "ssl-max-ver": _maximum,
    "force-sslv3": _only("SSLv3"),
    "no-sslv3": lambda words, argument, what: None,
    **{f"force-{name}": _only(version) for name, version in zip(haproxy_words.TLS_SHORT, TLS_VERSIONS, strict=True)},
    **{f"no-{name}": _without(version) for name, version in zip(haproxy_words.TLS_SHORT, TLS_VERSIONS, strict=True)},
}


#: Not done, so that `off` is what is done in any case.
SWITCHES = ("ktls", "ocsp-update")


def demand_off(word: str, argument: str, what: str, kind: str) -> None:
    """Raises Wrong unless one of these is switched off."""
    if one_of(argument, ("on", "off"), f"{what}: '{word}'") == "on":
        raise Wrong(f"{what}: {not_done(f'{word} on', kind, HINTS.get(f'bind {word}', ''))}")


def read_options(arguments: tuple[str, ...], known: frozenset[str], what: str) -> TLSWords:
    """Parses a list of words, of which only those in `known` are allowed. Raises Wrong."""
    words = TLSWords()

    def apply(word: str, argument: str) -> None:
        if word in SWITCHES:
            demand_off(word, argument, what, "TLS option")
        elif word in haproxy_words.BIND_WITHOUT_EFFECT:
            words.words.add(word)
        elif not words.read(word, argument, what):
            raise Wrong(f"{what}: {not_done(word, 'TLS option', HINTS.get(f'bind {word}', ''))}")

    for each in arguments:
        if each in haproxy_words.BIND_TLS and each not in known:
            raise Wrong(f"{what}: '{each}' cannot stand here, on the 'bind' line only{did_you_mean(each, known)}")
    read_parameters(arguments, {word: haproxy_words.BIND[word] for word in known}, apply, what)
    offered_protocols(words.said.get("alpn", ()), f"{what}: 'alpn'")
    return words


@frozen
class TLSDefaults:
    """Holds the TLS settings of the `global` sections read so far; as in HAProxy they apply to the lines that follow.

    `bind` and `server` are the options (`ssl-default-bind-options`) and, for servers, ciphers and similar settings;
    `offer` has fields of a `TLSOffer` for `bind` lines. Instances are replaced, never changed.
    """

    bind: TLSWords = Factory(TLSWords)
    offer: Mapping[str, object] = Factory(dict)
    server: TLSWords = Factory(TLSWords)
    ca_base: str = ""
    crt_base: str = ""
    #: Where relative paths begin that have no base of their own (`default-path`).
    files: str = ""
    #: For keys in `crt-store` sections alone.
    key_base: str = ""
    #: What `crt-store` sections have defined so far, by name.
    stored: Mapping[str, StoredCertificate] = Factory(dict)

    @property
    def base_of_authorities(self) -> str:
        return self.ca_base or self.files

    @property
    def base_of_certificates(self) -> str:
        return self.crt_base or self.files

    def certificate(self, name: str) -> StoredCertificate:
        """Returns what `crt` means by a name: what is stored under it, or else a file."""
        path = based_path(name, self.base_of_certificates)
        return self.stored.get(name) or self.stored.get(path) or StoredCertificate(path, path)

    def missing(self, name: str) -> str:
        """Returns what is wrong with the name of a certificate: it should be stored, and is not. "": nothing is."""
        if not name.startswith("@") or name in self.stored:
            return ""
        return f"no 'crt-store' above has the certificate '{name}'{did_you_mean(name, self.stored)}"


def finished_tls(words: TLSWords, defaults: TLSDefaults) -> BindTLS:
    """Returns the model's value for a line's `words`, on top of the global section's. Raises Wrong."""
    minimum, maximum = versions(words, defaults.bind)
    said: dict[str, Any] = {**defaults.offer, **defaults.bind.said, **words.said}
    offer = TLSOffer(**{**said, "min_version": minimum, "max_version": maximum})
    return BindTLS(
        tuple(_source_of(each, defaults) for each in words.sources),
        _with_bases(offer, words, defaults.base_of_authorities),
        bool(defaults.bind.strict if words.strict is None else words.strict),
        defaults.base_of_certificates,
        defaults.base_of_authorities,
        (*defaults.stored.values(),) if any(each.kind == "crt-list" for each in words.sources) else (),
    )


def _source_of(said: CertificateSource, defaults: TLSDefaults) -> CertificateSource:
    if said.kind == "crt-list":
        return evolve(said, path=based_path(said.path, defaults.files))
    meant = defaults.certificate(said.path)
    return evolve(said, path=meant.path, key=meant.key)


def overridden(tls: BindTLS, words: TLSWords) -> TLSOffer:
    """Returns the offer for one certificate whose `crt-list` line has `words`."""
    said = dict(words.said)
    if words.minimum is not None:
        said["min_version"] = words.minimum
    if words.maximum is not None:
        said["max_version"] = words.maximum
    return _with_bases(evolve(tls.offer, **said), words, tls.ca_base)


def versions(words: TLSWords, defaults: TLSWords) -> tuple[str, str]:
    """Returns the lowest and the highest enabled version, by HAProxy's rule: at least TLS 1.2, unless an older one is
    asked for.

    Raises Wrong when none is left.
    """
    minimum, maximum = words.minimum or defaults.minimum, words.maximum or defaults.maximum
    if minimum is None:
        minimum = min(maximum or _DEFAULT_MINIMUM, _DEFAULT_MINIMUM)
    off = words.off | defaults.off
    left = [each for each in TLS_VERSIONS if minimum <= each <= (maximum or TLS_VERSIONS[-1]) and each not in off]
    if not left:
        raise Wrong("no version of TLS is left to be spoken (ssl-min-ver, ssl-max-ver, no-tlsv…)")
    return left[0], left[-1]


def _with_bases(offer: TLSOffer, words: TLSWords, ca_base: str) -> TLSOffer:
    fields = ("ca_file", "ca_verify_file", "crl_file")
    based: dict[str, Any] = {each: based_path(words.said[each], ca_base) for each in fields if each in words.said}
    return evolve(offer, **based)
