"""Parses `crt-store` sections: certificates and their keys, with the names by which `crt` asks for them later
(`@store/alias`).

As in HAProxy, what a section defines is known to the lines that follow. Opens no file.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve

from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.tls import StoredCertificate
from reusedproxy.config.model.values import Place
from reusedproxy.config.tls.words import TLSDefaults

WORDS = ("crt-base", "key-base", "load")
#: Parameters of `load` about what clients are not sent: nothing is refused for it, as for the files beside a `crt`.
_NOT_SENT = {"ocsp": "no OCSP responses are", "sctl": "no certificate timestamps are"}
_SWITCHES = ("ocsp-update", "jwt", "generate-dummy")
_HINTS = {
    "ocsp-update": "take it out, no OCSP response is sent to clients yet",
    "acme": "no certificate is asked for: have an ACME client write the files",
    "generate-dummy": "no certificate is made: openssl req -x509 makes one",
}
_PARAMETERS = (
    "crt", "key", "alias", "issuer", *_NOT_SENT, *_SWITCHES, "acme", "domains", "ips", "keytype", "bits", "curves",
)  # fmt: skip


@define
class CrtStoreDraft:
    """Reads one `crt-store` section; `name` "": it has none. `tls` has what stands in `global`, and what is stored."""

    name: str
    place: Place
    tls: TLSDefaults
    crt_base: str = ""
    key_base: str = ""
    #: Whether a certificate has been named, after which the bases cannot change.
    loaded: bool = False

    def read(self, line: Line, report: Report) -> StoredCertificate | None:
        """Reads one line of the section, and returns the certificate that it defines. Raises Wrong."""
        word = line.keyword
        if word not in WORDS or line.prefix:
            raise Wrong(f"unknown keyword '{line.word}' in section 'crt-store'{did_you_mean(word, WORDS)}")
        if word == "load":
            self.loaded = True
            return self._load(line, report)
        if self.loaded:
            raise Wrong(f"'{word}' stands behind a 'load', for which it does not count: move it before the first one")
        directory = based_path(line.one_argument("a directory"), self.tls.files)
        if word == "crt-base":
            self.crt_base = directory
        else:
            self.key_base = directory
        return None

    def _load(self, line: Line, report: Report) -> StoredCertificate:
        said = self._parameters(line, report)
        if "crt" not in said:
            raise Wrong("'load' needs 'crt' and a file: load crt site.pem alias site, say")
        crt, key = said["crt"], said.get("key")
        made = StoredCertificate(
            self._known_as(crt, said.get("alias")),
            based_path(crt, self.crt_base or self.tls.base_of_certificates),
            None if key is None else based_path(key, self.key_base or self.tls.key_base or self.tls.files),
        )
        twin = self.tls.stored.get(made.name)
        if twin is not None and twin != made:
            raise Wrong(
                f"'load': there is another '{made.name}' already, of {twin.path}: give it an 'alias' of its own"
            )
        return made

    def _parameters(self, line: Line, report: Report) -> dict[str, str]:
        said: dict[str, str] = {}
        rest = list(line.arguments)
        texts: list[str] = []
        while rest:
            word = rest.pop(0)
            if word not in _PARAMETERS:
                texts.append(f"'load': unknown word '{word}'{did_you_mean(word, _PARAMETERS)}")
                break
            if not rest:
                texts.append(f"'load': '{word}' needs a value")
                break
            value = rest.pop(0)
            try:
                _READERS.get(word, _of_no_use)(word, value, line, report)
            except Wrong as wrong:
                texts.extend(wrong.texts)
            if word in said:
                report.warn(line.place, f"'load' says '{word}' twice: the last one counts")
            said[word] = value
        if texts:
            raise Wrong(*texts)
        return said

    def _known_as(self, crt: str, alias: str | None) -> str:
        """Returns the name by which `crt` asks for a certificate."""
        if alias is not None:
            return f"@{self.name}/{alias}"
        if self.name:
            return f"@{self.name}{'' if crt.startswith('/') else '/'}{crt}"
        return based_path(crt, self.tls.base_of_certificates)


Reader = Callable[[str, str, Line, Report], None]


def _taken(word: str, value: str, line: Line, report: Report) -> None:
    """Takes any value."""


def _alias(word: str, value: str, line: Line, report: Report) -> None:
    if value.startswith("/"):
        raise Wrong(f"'load': the alias '{value}' cannot begin with a slash: '@store/alias' asks for it")


def _issuer(word: str, value: str, line: Line, report: Report) -> None:
    report.without_effect("load … issuer", line.place)  # it serves OCSP


def _not_sent(word: str, value: str, line: Line, report: Report) -> None:
    report.warn(line.place, f"'load': {value} is not used, {_NOT_SENT[word]} sent to clients yet")


def _switch(word: str, value: str, line: Line, report: Report) -> None:
    if one_of(value, ("on", "off"), f"'load': '{word}'") == "on":
        raise Wrong(f"'load': {not_done(f'{word} on', 'parameter', _HINTS.get(word, ''))}")


def _of_no_use(word: str, value: str, line: Line, report: Report) -> None:
    """Refuses what only ACME or a certificate that is made would need."""
    hint = _HINTS["acme" if word in ("acme", "domains", "ips") else "generate-dummy"]
    raise Wrong(f"'load': {not_done(word, 'parameter', hint)}")


_READERS: dict[str, Reader] = {
    **dict.fromkeys(("crt", "key"), _taken),
    "alias": _alias,
    "issuer": _issuer,
    **dict.fromkeys(_NOT_SENT, _not_sent),
    **dict.fromkeys(_SWITCHES, _switch),
}


def with_stored(tls: TLSDefaults, made: StoredCertificate) -> TLSDefaults:
    """Returns the settings with one more certificate."""
    return evolve(tls, stored={**tls.stored, made.name: made})
