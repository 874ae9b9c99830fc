"""Checks server lines whose certificate, authorities or names depend on the request, with their other words."""

from __future__ import annotations

from reusedproxy.config.language.addresses import CLIENTS_HOSTS
from reusedproxy.config.language.report import Report
from reusedproxy.config.model.checks import CheckPlan, Connect, HTTPCheck
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.rules.identities import are_bounded, around_map, folder_of
from reusedproxy.config.sections.globals import GlobalDraft
from reusedproxy.config.sections.server_words import ServerWords
from reusedproxy.config.sections.servers import ServerDraft


def validate_identities(
    server: ServerDraft, global_: GlobalDraft, check: HTTPCheck | CheckPlan | None, report: Report, *, http: bool
) -> None:
    words, name, rule = server.words, server.title, server.words.identity
    if rule == IdentityRule():
        return
    said = [f"'{word}' by an expression" for word in rule.formats] or ["'pool-identities'"]
    if not words.ssl:
        report.fault(server.place, f"{name}: {said[0]} without 'ssl': there is no identity in the clear: add 'ssl'")
        return
    if not http:
        report.fault(server.place, f"{name}: {said[0]} is for 'mode http' only")
        return
    _files(rule, name, server, report)
    verify = words.verify or global_.server_verify
    if verify != "required" and {"ca-file", "verifyhost"} & {*rule.formats}:
        report.fault(server.place, f"{name}: {said[-1]} verifies nobody with 'verify {verify}': say 'verify required'")
    if not rule.formats and words.sni_of_requests is None:
        text = "nothing on the line depends on the request: there is one identity"
        report.fault(server.place, f"{name}: 'pool-identities' {rule.listed}: {text}")
    if rule.listed:
        _listed(server, name, report)
    elif rule.formats and _checks_by_tls(server, check):
        text = (
            f"{name}: checks begin before a request says who the proxy is ({said[0]}): add 'pool-identities FILE',"
            " whose first identity is the one of the checks"
        )
        report.fault(server.place, text)
    if (words.pool.min_conn or words.pool.adapts) and not rule.listed and not _bounded(words):
        text = (
            f"{name}: pool-min-conn where clients choose the names of connections: add 'pool-identities FILE' with"
            " those that are to be warm, or have the names come from a map"
        )
        report.fault(server.place, text)


def _bounded(words: ServerWords) -> bool:
    return are_bounded(words.sni_of_requests, words.pool_conn_name, words.identity.verifyhost)


def _files(rule: IdentityRule, name: str, server: ServerDraft, report: Report) -> None:
    """Reports words for which nothing says which files they may choose."""
    for word, made in (("crt", rule.crt), ("ca-file", rule.ca_file)):
        if made is None or around_map(made) is not None or folder_of(made) is not None or rule.listed:
            continue
        text = (
            f"{name}: '{word}': nothing says which files requests may choose among: end the expression with"
            f" map(FILE), write the folder before it ('{word} tenants/%[…]'), or add 'pool-identities FILE'"
        )
        report.fault(server.place, text)


def _listed(server: ServerDraft, name: str, report: Report) -> None:
    words = server.words
    if words.pool_conn_name is not None and words.pool_conn_name.fetch.name != "str":
        text = f"'pool-conn-name {words.pool_conn_name}' gives connections a name that no line of the file can say"
        report.fault(server.place, f"{name}: 'pool-identities' {words.identity.listed}: {text}")
    if server.address.mapped is not None or (server.address.kind == "tcp" and server.address.host in CLIENTS_HOSTS):
        text = "the server is where clients connect to, so no connection can be opened before one does"
        report.fault(server.place, f"{name}: 'pool-identities' {words.identity.listed}: {text}")


def _checks_by_tls(server: ServerDraft, check: HTTPCheck | CheckPlan | None) -> bool:
    words = server.words
    if not words.checked:
        return False
    if isinstance(check, CheckPlan) and any(isinstance(step, Connect) and step.ssl for step in check.steps):
        return True
    return words.check.ssl or (words.check.addr is None and words.check.port is None)
