"""Loads the files among which requests choose at one server line, and chooses for each request who the proxy is.

All files are read, and tried, with the configuration, so that no request has to wait for a disk, and none can name a
file: what its expressions give is looked up among those that were read. Files that have not changed since the reading
before stay the same identities, whose connections are kept. Must never know pools.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import Factory, define

from reusedproxy.build.certificates import Stamps, stamps_of
from reusedproxy.build.identity_sources import Sources, sources_of
from reusedproxy.config import model
from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.secrets import quotable
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.rules import Format
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.net.slices import Steps
from reusedproxy.net.tls.client import ClientContext, check_host_name, try_certificate
from reusedproxy.net.tls.files import CertificateFile, TLSConfigurationError, keys_beside
from reusedproxy.net.tls.identity import ClientIdentity
from reusedproxy.net.tls.trusts import Trusted, Trusts
from reusedproxy.net.tls.words import LONGEST_NAME, printable
from reusedproxy.pool.named import IdentityRefused, Name, host_name
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.compile import compiled_alone, to_text

#: Chooses for a request; raises IdentityRefused.
Choose = Callable[[Exchange], ClientIdentity]


@define
class Identities:
    """Holds the identities of one server line: its files by their paths, each with its stamps, and what is listed, with
    the floor of each (None: the line's)."""

    rule: IdentityRule
    crts: dict[str, tuple[Stamps, CertificateFile]] = Factory(dict)
    authorities: dict[str, tuple[Stamps, Trusted]] = Factory(dict)
    listed: list[tuple[Name, int | None]] = Factory(list)

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Returns the files, each behind the word that names it."""
        return (*(("crt", path) for path in self.crts), *(("ca-file", path) for path in self.authorities))

    def is_current(self, identity: ClientIdentity) -> bool:
        """Tells whether the files of this identity are those that were read last."""
        ours, trusted = identity.ours, identity.trusted
        return (ours is None or self.crts.get(ours.path, (None, None))[1] is ours) and (
            trusted is None or self.authorities.get(trusted.path, (None, None))[1] is trusted
        )

    def choose(self) -> Choose | None:
        """Returns the function that chooses for a request; None where only its SNI differs."""
        rule = self.rule
        if not rule.formats:
            return None
        crt = None if rule.crt is None else _text("crt", rule.crt)
        ca_file = None if rule.ca_file is None else _text("ca-file", rule.ca_file)
        verifyhost = None if rule.verifyhost is None else _text("verifyhost", rule.verifyhost)
        crts = {path: each for path, (_, each) in self.crts.items()}
        authorities = {path: each for path, (_, each) in self.authorities.items()}

        def chosen(facts: Exchange) -> ClientIdentity:
            ours = trusted = None
            if crt is not None:
                path = based_path(crt(facts), rule.crt_base)
                ours = crts.get(path)
                if ours is None:
                    raise _unknown("crt", path)
            if ca_file is not None:
                path = based_path(ca_file(facts), rule.ca_base)
                trusted = authorities.get(path)
                if trusted is None:
                    raise _unknown("ca-file", path)
            verified = "" if verifyhost is None else _host(verifyhost(facts))
            return ClientIdentity(ours, trusted, verified)

        return chosen

    def of_checks(self, base: ClientContext) -> ClientContext:
        """Returns the context of checks: the first identity that is listed, if it is not that of all requests. Raises
        TLSConfigurationError."""
        if not self.rule.formats or not self.listed:
            return base
        name = self.listed[0][0]
        assert name.identity is not None
        context = base.acting_as(name.identity)
        return context.named(name.sni.decode("ascii")) if name.sni else context


def depends_on_request(settings: model.Server) -> frozenset[str]:
    """Returns the words of a server line whose values depend on the request."""
    rule = settings.identities
    sni = {"sni"} if settings.sni is not None else set()
    return frozenset({*(rule.formats if rule is not None else ()), *sni})


def loading(
    settings: model.Server, previous: Identities | None, trusts: Trusts, faults: list[str]
) -> Steps[Identities]:
    """Loads the identities of a server line, in steps, and adds to `faults`. Files that have not changed since the
    `previous` reading are not read."""
    rule, tls = settings.identities, settings.tls
    assert rule is not None and tls is not None
    sources = yield from sources_of(rule, depends_on_request(settings))
    faults += sources.faults
    made = Identities(rule)
    for path in sources.crts:
        stamps = (*stamps_of([path, *keys_beside(path)]), *trusts.stamps([(path, None)], ()))
        before = None if previous is None else previous.crts.get(path)
        try:
            made.crts[path] = stamps, _certificate(path, stamps, before, tls, trusts)
        except TLSConfigurationError as error:
            faults += error.args
        yield
    for path in sources.authorities:
        files = [path, *([tls.crl_file] if tls.crl_file else [])]
        stamps = (*stamps_of(files), *trusts.in_memory.stamps((), files))
        known = None if previous is None else previous.authorities.get(path)
        try:
            made.authorities[path] = stamps, _trusted(path, stamps, known, tls, trusts)
        except TLSConfigurationError as error:
            faults += error.args
        yield
    _list(made, sources, settings, faults)
    return made


def _certificate(
    path: str, stamps: Stamps, before: tuple[Stamps, CertificateFile] | None, tls: model.ServerTLS, trusts: Trusts
) -> CertificateFile:
    if before is not None and before[0] == stamps:
        return before[1]
    read = trusts.certificate(path)
    known = None if before is None else before[1]
    if known is not None and (known.content, known.key, known.chain) == (read.content, read.key, read.chain):
        return known
    try_certificate(read, tls)
    return read


def _trusted(
    path: str, stamps: Stamps, before: tuple[Stamps, Trusted] | None, tls: model.ServerTLS, trusts: Trusts
) -> Trusted:
    if before is not None and before[0] == stamps:
        return before[1]
    read = trusts.of((("ca-file", path),), tls.crl_file, fetched=tls.crl_fetched)
    return before[1] if before is not None and before[1].trusts_the_same(read) else read


def _list(made: Identities, sources: Sources, settings: model.Server, faults: list[str]) -> None:
    """Makes the names of the identities that are listed."""
    rule, tls = made.rule, settings.tls
    assert tls is not None
    constant = (tls.sni or "").encode()
    pool_name = settings.pool_conn_name
    for each in sources.listed:
        what = f"pool-identities {rule.listed}: line {each.number}"
        crt = made.crts.get(based_path(each.crt, rule.crt_base)) if each.crt else None
        trusted = made.authorities.get(based_path(each.ca_file, rule.ca_base)) if each.ca_file else None
        if (each.crt and crt is None) or (each.ca_file and trusted is None):
            continue  # what is wrong with its file was reported
        try:
            verified = _host(each.verifyhost) if each.verifyhost else ""
            sni = host_name(each.sni.encode("ascii")) if each.sni else constant
            for name in filter(None, (verified, sni.decode())):
                check_host_name(name)
        except (IdentityRefused, TLSConfigurationError, UnicodeError) as error:
            faults.append(f"{what}: {error}")
            continue
        identity = None
        if rule.formats:
            identity = ClientIdentity(crt and crt[1], trusted and trusted[1], verified)
        key = sni if pool_name is None else pool_name.fetch.arguments[0].encode()
        made.listed.append((Name(key, sni, identity=identity), each.floor))


def _text(word: str, made: Format) -> Callable[[Exchange], str]:
    """Returns the function that evaluates a format of a server line. It raises IdentityRefused where one of its
    expressions finds nothing."""
    parts = [part if isinstance(part, str) else compiled_alone(part.expression) for part in made.parts]
    said = "".join(part if isinstance(part, str) else f"%[{quotable(str(part.expression))}]" for part in made.parts)

    def text(facts: Exchange) -> str:
        texts = []
        for part in parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            try:
                value = to_text(part(facts))
            except Exception as error:
                raise IdentityRefused(f"'{word} {said}': {Unevaluated.by(error)}") from None
            if not value:
                raise IdentityRefused(f"'{word} {said}' finds nothing in this request")
            texts.append(value.decode("utf-8", "surrogateescape"))
        return "".join(texts)

    return text


def _host(text: str) -> str:
    try:
        name = host_name(text.encode("ascii")).decode()
    except UnicodeError:
        name = ""
    if not name:
        raise IdentityRefused(f"'verifyhost' gives '{printable(text)}', which is not a host name")
    return name


def _unknown(word: str, path: str) -> IdentityRefused:
    shown = printable(path[:LONGEST_NAME])
    return IdentityRefused(
        f"'{word}' gives '{shown}', which is none of the files that were read with the configuration"
    )
