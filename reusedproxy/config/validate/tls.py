"""Checks the TLS words of `bind` and `server` lines, together with the global section's."""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.config.language.haproxy_words import BIND_TLS
from reusedproxy.config.language.report import Report, Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections.binds import BindDraft
from reusedproxy.config.sections.globals import GlobalDraft
from reusedproxy.config.sections.servers import ServerDraft
from reusedproxy.config.tls.words import (
    SPIFFE,
    SYSTEM_CA,
    TLSWords,
    not_offered,
    offered_protocols,
    versions,
)


def validate_listeners(binds: Sequence[BindDraft], global_: GlobalDraft, report: Report, *, http: bool = True) -> None:
    """Checks each `bind` line once, even if it has several addresses. `http` tells that requests come there."""
    for bind in {each.bind.place: each for each in binds}.values():
        name = f"bind '{bind.bind.address}'"
        if bind.ssl:
            if http:
                _offered(bind.tls, name, bind.bind.place, report)
            _served(bind, name, global_, report)
        elif restricting := _restricting(bind.tls):
            text = f"{name}: '{restricting}' without 'ssl' would let everybody in, in the clear: add 'ssl crt <file>'"
            report.fault(bind.bind.place, text)
        elif unused := sorted(bind.tls.words & BIND_TLS):
            report.warn(bind.bind.place, f"{name} has '{unused[0]}' but no 'ssl': clients are served in the clear")


def _offered(words: TLSWords, name: str, place: Place, report: Report) -> None:
    names = words.said.get("alpn", ())
    try:
        rest = offered_protocols(names, f"{name}: 'alpn'")
    except Wrong as wrong:
        report.wrong(place, wrong)
        return
    if rest != names:
        report.warn(place, f"{name}: {not_offered(names, rest)}")


def _restricting(words: TLSWords) -> str:
    """Returns the word of the line that restricts who may connect, "" if there is none."""
    if words.said.get("verify") == "required":
        return "verify required"
    return "strict-sni" if words.strict else ""


def _served(bind: BindDraft, name: str, global_: GlobalDraft, report: Report) -> None:
    words, place = bind.tls, bind.bind.place
    if not words.sources:
        report.fault(place, f"{name}: 'ssl' needs a certificate: 'crt <file>', with its chain and key in one PEM file")
    named = (*(each.path for each in words.sources), words.said.get("ca_file"), words.said.get("ca_verify_file"))
    if SPIFFE in named:
        text = f"{name}: '{SPIFFE}' is for 'server' lines only: write files here, as spiffe-helper makes them"
        report.fault(place, text)
        return
    for each in words.sources:
        if each.kind != "crt-list" and (missing := bind.defaults.missing(each.path)):
            report.fault(place, f"{name}: {missing}")
    verify = words.said.get("verify", "none")
    lists = any(each.kind == "crt-list" for each in words.sources)
    if verify != "none" and not words.words & {"ca-file", "ca-verify-file"}:
        report.fault(place, f"{name}: 'verify {verify}' needs 'ca-file <file>': the CAs whose clients are let in")
    elif verify == "none" and not lists and words.words & {"ca-file", "ca-verify-file", "crl-file"}:
        word = sorted(words.words & {"ca-file", "ca-verify-file", "crl-file"})[0]
        report.warn(place, f"{name}: '{word}' does nothing without 'verify required' or 'verify optional'")
    _versions(words, bind.defaults.bind, bind.defaults.offer.get("ciphers"), name, place, report)


def validate_server(server: ServerDraft, name: str, global_: GlobalDraft, report: Report, *, http: bool = True) -> None:
    """Checks versions, ciphers and protocols of a server that is reached over TLS."""
    tls = server.words.tls
    asks = [word for word, said in (("crt", tls.crt), ("ca-file", tls.ca_file)) if said == SPIFFE]
    if asks and global_.workload_api is None and "spiffe-workload-api" not in global_.unreadable:
        text = f"{name}: '{asks[0]} {SPIFFE}' needs 'spiffe-workload-api unix:/PATH' in section 'global'"
        report.fault(server.place, text)
    if tls.crt not in (None, SPIFFE) and (missing := server.defaults.missing(tls.crt)):
        report.fault(server.place, f"{name}: {missing}")
    if http:
        _offered(server.words.parameters, name, server.place, report)
    defaults = server.defaults.server
    _versions(server.words.parameters, defaults, defaults.said.get("ciphers"), name, server.place, report)


def validate_revocation(server: ServerDraft, name: str, verify: str, report: Report) -> None:
    """Checks what `crl-url`, `ocsp-verify` and `verifyspiffe` need beside them."""
    words = server.words
    if verify == "none" and words.tls.ocsp == "required":
        text = (
            f"{name}: 'ocsp-verify required' needs 'verify required ca-file <file>': an OCSP answer is signed by the"
            " CA, which 'verify none' does not look at"
        )
        report.fault(server.place, text)
    if verify == "none" and words.tls.spiffe:
        text = f"{name}: 'verifyspiffe' needs 'verify required ca-file <file>': anybody can write an ID"
        report.fault(server.place, text)
    if not words.revocations.urls:
        if "crl-refresh" in server.own:
            report.warn(server.place, f"{name}: 'crl-refresh' does nothing without 'crl-url'")
    elif "crl_file" not in words.parameters.said:
        text = f"{name}: 'crl-url' needs 'crl-file <file>': where the list is kept, so that a restart has it"
        report.fault(server.place, text)
    elif words.identity.ca_file is not None:
        text = (
            f"{name}: 'crl-url' beside a 'ca-file' that requests choose: the list is signed by one CA: fetch the lists"
            " of such a line by other means, and write them to its 'crl-file'"
        )
        report.fault(server.place, text)
    elif verify == "none":
        report.warn(server.place, f"{name}: 'crl-url' does nothing with 'verify none': no list is looked at")
    elif words.tls.ca_file == SYSTEM_CA:
        text = (
            f"{name}: 'crl-url' needs 'ca-file <file>' with the CA by which the list is signed: '{SYSTEM_CA}' are too"
            " many to tell"
        )
        report.fault(server.place, text)


def demanding_word(server: ServerDraft) -> str:
    """Returns the word of the line itself by which the server has to prove who it is; "" if there is none."""
    tls = server.words.tls
    for word, said in (("pin-sha256", tls.pins), ("verifyspiffe", tls.spiffe)):
        if said and word in server.own:
            return word
    return "ocsp-verify required" if tls.ocsp == "required" and "ocsp-verify" in server.own else ""


def _versions(words: TLSWords, defaults: TLSWords, ciphers: object, name: str, place: Place, report: Report) -> None:
    try:
        oldest, newest = versions(words, defaults)
    except Wrong as wrong:
        report.wrong(place, Wrong(*(f"{name}: {text}" for text in wrong.texts)))
        return
    if oldest < "TLSv1.2" and "SECLEVEL=0" not in str(words.said.get("ciphers") or ciphers or ""):
        text = f"OpenSSL speaks {oldest} only at its lowest level of security: 'ciphers DEFAULT:@SECLEVEL=0'"
        report.warn(place, f"{name}: {text}")
    if newest < "TLSv1.2" and not (words.minimum or defaults.minimum):
        report.warn(place, f"{name}: {newest} only is spoken, since no 'ssl-min-ver' is said beside 'ssl-max-ver'")
