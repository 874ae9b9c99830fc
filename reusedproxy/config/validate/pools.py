"""Checks the words of a server's pool that say how it comes up, stands by, and is spread over nodes."""

from __future__ import annotations

from reusedproxy.config.language.report import Report
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.servers import ServerDraft


def validate_pool(server: ServerDraft, draft: ProxyDraft, report: Report) -> None:
    pool, name = server.words.pool, server.title
    warm = pool.min_conn > 0 or pool.adapts
    for word in ("pool-warm-up", "pool-spread"):
        if word in server.own and not warm and not (word == "pool-spread" and pool.spread is None):
            report.warn(server.place, f"{name}: '{word}' does nothing without 'pool-min-conn'")
    _standby(server, name, report)
    if pool.spread is not None and warm:
        _spread(server, name, draft, report)


def _standby(server: ServerDraft, name: str, report: Report) -> None:
    words, pool = server.words, server.words.pool
    if words.standby is None or not ("pool-standby-conn" in server.own or words.backup):
        return
    what = f"{name}: pool-standby-conn {words.standby}"
    if pool.adapts:
        text = f"{what} with 'pool-min-conn auto', which falls by itself while nobody asks: say a number there"
        report.fault(server.place, text)
    elif words.standby >= pool.min_conn:
        text = f"{what} is the floor while it stands by, and has to be less than pool-min-conn {pool.min_conn}"
        report.fault(server.place, text)


def _spread(server: ServerDraft, name: str, draft: ProxyDraft, report: Report) -> None:
    words = server.words
    assert words.pool.spread is not None
    header = words.pool.spread.header
    if not header and not words.ssl:
        text = f"{name}: 'pool-spread cert' without 'ssl': no certificate is shown; 'pool-spread hdr(NAME)' needs none"
        report.fault(server.place, text)
    elif header and draft.tcp:
        text = f"{name}: 'pool-spread hdr({header})' in mode tcp, where nothing is known of headers: say 'cert'"
        report.fault(server.place, text)
    elif header and "option httpchk" not in draft.said:
        text = (
            f"{name}: 'pool-spread hdr({header})' asks each connection once, with 'OPTIONS *', which some servers"
            " refuse (nginx): 'option httpchk' says with what"
        )
        report.notice(server.place, text)
