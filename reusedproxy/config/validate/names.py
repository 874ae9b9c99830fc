"""Checks the words about host names of servers against the `resolvers` sections.

Adds faults and notices to the report; must never change a draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from reusedproxy.config.language.addresses import is_service
from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.names import DEFAULT
from reusedproxy.config.rules.steering import Resolve
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.resolvers import ResolversDraft
from reusedproxy.config.sections.servers import ServerDraft

_WORDS = {"resolve-net", "resolve-opts", "resolve-prefer"}


def validate_names(proxies: Sequence[ProxyDraft], sections: Sequence[ResolversDraft], report: Report) -> None:
    """Checks all servers of all proxies; those of a `server-template` once."""
    for draft in proxies:
        if draft.disabled or draft.head_faulty or "default-server" in draft.unreadable:
            continue
        for server in {server.place: server for server in draft.servers}.values():
            _server(server, sections, report)
    known = [section.name for section in sections]
    for draft in proxies if not report.names_in_doubt else ():
        for rule in (*draft.request_rules, *draft.content_rules):
            if isinstance(rule.action, Resolve) and rule.action.resolvers not in known:
                wanted = rule.action.resolvers
                text = f"'{rule.words}': there is no 'resolvers {wanted}'{did_you_mean(wanted, known)}"
                report.fault(rule.place, text)
        for rule in () if draft.tcp or draft.kind == "defaults" else draft.content_rules:
            if isinstance(rule.action, Resolve):
                text = f"'{rule.words}' looks names up in mode tcp, and {draft.title} is in mode http: write"
                report.fault(rule.place, f"{text} 'http-request do-resolve'")
    used = {server.words.resolution.resolvers for draft in proxies for server in draft.servers}
    for section in sections:
        settings = section.settings
        if settings.nameservers or settings.resolv_conf is not None or section.unreadable:
            continue
        if section.name in used:
            text = "has no 'nameserver' and no 'parse-resolv-conf': there is nobody to ask"
            report.warn(section.place, f"resolvers '{section.name}' {text}")


def _server(server: ServerDraft, sections: Sequence[ResolversDraft], report: Report) -> None:
    words, name, host = server.words, server.title, server.address.host
    resolution = words.resolution
    wanted = resolution.resolvers
    if wanted is not None and wanted != DEFAULT and not report.names_in_doubt:
        known = [section.name for section in sections]
        if wanted not in known:
            report.fault(server.place, f"{name}: there is no 'resolvers {wanted}'{did_you_mean(wanted, known)}")
    if server.address.kind != "tcp" or _is_literal(host):
        return
    if is_service(host):
        if wanted is None:
            text = (
                f"'{host}' begins with '_', as the names of SRV records do, which only a name server knows: add"
                " 'resolvers <name>', or write a server's address"
            )
            report.fault(server.place, f"{name}: {text}")
        return
    unused = sorted(server.own & _WORDS)
    if wanted is None and unused:
        text = f"'{unused[0]}' does nothing without 'resolvers': the name is resolved at the start, and at reloads"
        report.warn(server.place, f"{name}: {text}")


def _is_literal(host: str) -> bool:
    try:
        return ip_address(host) is not None
    except ValueError:
        return False
