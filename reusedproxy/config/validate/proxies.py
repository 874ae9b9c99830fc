"""Checks what needs the whole configuration: names that must exist, settings that contradict each other.

Adds faults, warnings and notices to the report; must never change a draft. A faulty section or line is skipped, so that
one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

from reusedproxy.config.checks.requests import host_asked_for
from reusedproxy.config.language.addresses import CLIENTS_HOSTS
from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.checks import CheckPlan, Connect, HTTPCheck
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.proxies import ENDING_OPTIONS, SAFE_TO_REUSE, Bind, Manhole, PoolLimits
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.config.rules.actions import UseService
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.samples import AT_HAND, CLIENT_BYTES, NEEDED, REQUEST
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.errors import ErrorLine, GroupUse
from reusedproxy.config.sections.finish import check_host, check_of, host_known
from reusedproxy.config.sections.globals import GlobalDraft
from reusedproxy.config.sections.keep_alive import CLIENT_WORDS
from reusedproxy.config.sections.options import OPTION_OF_CHECKS
from reusedproxy.config.sections.server_words import OUR_POOL_WORDS, OUR_TLS_WORDS, ServerWords
from reusedproxy.config.sections.servers import ServerDraft
from reusedproxy.config.sections.stats import validate_stats
from reusedproxy.config.sections.traffic_logs import check_slots
from reusedproxy.config.tls.words import ON_SERVERS
from reusedproxy.config.validate.balance import notice_of_default, validate_balance
from reusedproxy.config.validate.egress import validate_egress
from reusedproxy.config.validate.identities import validate_identities
from reusedproxy.config.validate.modes import validate_mode, validate_modes, with_requests
from reusedproxy.config.validate.persistence import validate_persistence
from reusedproxy.config.validate.pools import validate_pool
from reusedproxy.config.validate.references import Names
from reusedproxy.config.validate.rules import always_answers, answering, validate_rules
from reusedproxy.config.validate.tls import demanding_word, validate_listeners, validate_revocation, validate_server

#: Seconds for a connection to a server without `timeout connect`; the daemon's own default.
CONNECT_TIMEOUT = 30.0

_POOL_WORDS = {"pool-max-conn", "pool-low-conn", "pool-purge-delay", "max-reuse", *OUR_POOL_WORDS}


def validate(
    drafts: Sequence[ProxyDraft], global_: GlobalDraft, report: Report
) -> Generator[None, None, frozenset[str]]:
    """Checks all proxies in the order in which they are written; one step for each. Returns the servers
    ("backend/server") that their rules name."""
    names = Names(drafts)
    requests = with_requests(drafts)
    paged = any(_pages_of_503(draft.errors) for draft in drafts if "F" in draft.sides)
    all_clear = not any(bind.ssl for draft in drafts for bind in draft.binds)
    for draft in drafts:
        yield
        if not report.names_in_doubt:
            names.check(draft, report)
        if draft.disabled or draft.head_faulty:
            continue
        validate_mode(draft, draft.name in requests and "F" in draft.sides, report)
        _timeouts(draft, report)
        clear = not any(bind.ssl for bind in draft.binds) if "F" in draft.sides else all_clear
        # A rule that could not be read may answer every request, too.
        answers = always_answers(draft, clear=clear) or bool(draft.unreadable & {"http-request", "redirect"})
        if "F" in draft.sides:
            _frontend(draft, answers, report)
            _log_format(draft, global_, report)
            check_slots(draft, report)
            if draft.unique_id_header and "unique-id-format" not in draft.formats:
                place = draft.said["unique-id-header"] if "unique-id-header" in draft.own else draft.place
                report.notice(place, "'unique-id-header' does nothing without 'unique-id-format'")
            for word in () if draft.clitcpka else CLIENT_WORDS:
                if word in draft.own:
                    report.warn(draft.said[word], f"{draft.title}: '{word}' does nothing without 'option clitcpka'")
            validate_listeners(draft.binds, global_, report, http=not draft.tcp)
        if "B" in draft.sides:
            _backend(draft, answers, paged, global_, report)
        validate_rules(draft, report)
        validate_stats(draft, report)
    if not report.names_in_doubt:
        _tracked(drafts, report)
        validate_modes(drafts, report)
    _spelling(drafts, global_, report)
    backends = [draft for draft in drafts if "B" in draft.sides and not draft.head_faulty]
    notice_of_default(backends, report)
    _notice_of_reuse(backends, report)
    _binds_differ(drafts, report)
    _operators_listen(drafts, global_, report)
    return frozenset(names.servers)


def _timeouts(draft: ProxyDraft, report: Report) -> None:
    """Warns of missing timeouts, as HAProxy does: without most of them a dead peer keeps its connection for ever."""
    needed = ["client"] if "F" in draft.sides else []
    if "B" in draft.sides and ("server" in draft.said or draft.servers):
        needed += ["connect", "server"]
    # An unreadable time is a fault already. 0 means "for ever", so the warning applies to it.
    missing = [
        name for name in needed if not getattr(draft.timeouts, name) and f"timeout {name}" not in draft.unreadable
    ]
    if missing:
        names = " and no ".join(f"'timeout {name}'" for name in missing)
        text = "; ".join(_without_timeouts(missing, draft))
        report.warn(draft.place, f"{draft.title} has no {names}: {text}")


def _without_timeouts(missing: Sequence[str], draft: ProxyDraft) -> Iterable[str]:
    """Returns the consequences of the missing timeouts."""
    if "connect" in missing:
        yield f"a connection to a server is tried for {CONNECT_TIMEOUT:g} s"
        if not draft.timeouts.queue and any(each.words.maxconn or each.words.minconn for each in draft.servers):
            yield "a request waits for a full server without end"
    silent = [f"a {name}" for name in ("client", "server") if name in missing]
    if silent:
        # 'timeout http-request' limits the head of a request even without 'timeout client'.
        within = " within a body or an answer" if silent == ["a client"] and draft.timeouts.http_request else ""
        yield f"{' or '.join(silent)} that fell silent{within} is waited for without end"


def _frontend(draft: ProxyDraft, answers: bool, report: Report) -> None:
    if "bind" not in draft.said:
        report.warn(draft.place, f"{draft.title} has no 'bind': nobody can reach it")
    goes_on = "default_backend" in draft.said or "use_backend" in draft.said or draft.kind == "listen"
    if not goes_on and "stats" not in draft.said and not answers and not _meant_to_answer(draft):
        text = f"{draft.title} has no 'default_backend' and no 'use_backend': {_ends_without_server(draft)}"
        report.warn(draft.place, text)


def _meant_to_answer(draft: ProxyDraft) -> bool:
    """Tells whether the section is there to answer without a server: the monitor, a service such as the exporter, or
    with a page for 503 of its own; or for its table alone."""
    if any(isinstance(each.action, UseService) for each in draft.request_rules):
        return True
    if "stick-table" in draft.own or (draft.kind != "backend" and draft.monitor_uri):
        return True
    begin = draft.place
    places = [page.place for page in _pages_of_503(draft.errors)]
    return any(each.file == begin.file and each.line > begin.line for each in places)


def _spelling(drafts: Sequence[ProxyDraft], global_: GlobalDraft, report: Report) -> None:
    """Tells of spellings of headers that nobody is told, and of sections that tell none."""
    options = ("h1-case-adjust-bogus-client", "h1-case-adjust-bogus-server")
    said = bool(global_.spelling) or global_.spelling_file is not None
    asked = False
    for draft in drafts:
        for option, wanted in zip(
            options, (draft.h1_case_adjust_bogus_client, draft.h1_case_adjust_bogus_server), strict=True
        ):
            asked = asked or wanted
            if wanted and not said and f"option {option}" in draft.own:
                text = f"'option {option}' does nothing without 'h1-case-adjust' in section 'global'"
                report.notice(draft.said[f"option {option}"], text)
    for word in ("h1-case-adjust", "h1-case-adjust-file"):
        if not asked and word in global_.said:
            report.notice(global_.said[word], f"'{word}' does nothing without {' or '.join(map(repr, options))}")


def _pages_of_503(lines: Iterable[ErrorLine]) -> list[ErrorLine]:
    return [
        each for each in lines if 503 in (each.statuses or (503,) if isinstance(each, GroupUse) else (each.status,))
    ]


def _ends_without_server(draft: ProxyDraft, paged: bool = False) -> str:
    """Says what becomes of clients, or requests, for which there is no server. `paged` tells that another section may
    have a page in place of the error."""
    if draft.tcp:
        return "every client is turned away"
    which = "what no rule answers" if answering(draft) else "every request"
    pages = _pages_of_503(draft.errors)
    if pages:
        return f"{which} is answered with the page for 503 ({pages[-1].place})"
    return f"{which} ends with the error 503" if paged else f"{which} is answered with 503"


def _log_format(draft: ProxyDraft, global_: GlobalDraft, report: Report) -> None:
    """Warns of 'option httplog', or its like, without a log target, as HAProxy does, but not in a section that
    inherits it and has 'no log'."""
    of_data = "log-format-sd" in draft.formats
    if (draft.log_format == "default" and not of_data) or draft.logs or (draft.log_global and global_.logs):
        return
    if "log" in draft.unreadable or (draft.log_global and "log" in global_.unreadable):
        return
    option = f"option {draft.log_format.removesuffix(' clf')}"
    if draft.log_format in ("custom", "default"):
        option = "log-format" if draft.log_format == "custom" else "log-format-sd"
    place = draft.said[option] if option in draft.own else draft.place
    does_nothing = f"{draft.title}: '{option}' does nothing, no {'session' if draft.tcp else 'request'} is logged:"
    if draft.log_global:
        report.warn(
            place, f"{does_nothing} 'log global' stands for the 'log' lines of section 'global', which has none"
        )
    elif "log" not in draft.own or option in draft.own:
        report.warn(place, f"{does_nothing} there is no 'log' line; write 'log stdout format raw local0', say")


def _binds_differ(drafts: Iterable[ProxyDraft], report: Report) -> None:
    """Checks addresses that are said twice. In two sections each listens, as in HAProxy, and the kernel gives clients
    to either; within one it has to be clear which words count."""
    seen: dict[str, tuple[ProxyDraft, Bind]] = {}
    for draft in drafts:
        for bind in (each.bind for each in draft.binds) if not draft.disabled else ():
            address = bind.address
            if address.kind == "tcp" and address.port == 0:
                continue  # the kernel picks another each time
            section, other = seen.setdefault(str(address), (draft, bind))
            if other is bind:
                continue
            same = f"'bind {address}' stands already at {other.place}"
            if address.kind != "tcp":
                report.fault(bind.place, f"{same}: only one of them can listen there")
            elif section is draft:
                text = (
                    f"{same}, with other words: HAProxy listens twice, and chance decides which of the two each client"
                    " gets. Take one out"
                )
                report.fault(bind.place, text)
            else:
                text = (
                    f"{same}, in {section.title}: both listen, and chance decides which of the two each client gets, as"
                    " in HAProxy. One frontend leads to several backends by 'use_backend'"
                )
                report.warn(bind.place, text)


def _operators_listen(drafts: Iterable[ProxyDraft], global_: GlobalDraft, report: Report) -> None:
    """Checks that the manhole and the runtime API share no address with each other, nor with clients: a start would
    find it taken, after a check that did not."""
    binds = [
        (f"'bind {each.bind.address}'", each.bind) for draft in drafts if not draft.disabled for each in draft.binds
    ]
    sockets = [("'stats socket'", each.bind) for each in global_.stats_sockets]
    for what, bind in sockets:
        _demand_free(what, bind, binds, report)
    if global_.manhole is not None:
        _demand_free("'manhole'", global_.manhole, (*binds, *sockets), report)


def _demand_free(what: str, said: Bind | Manhole, taken: Iterable[tuple[str, Bind]], report: Report) -> None:
    for other_what, other in taken:
        if _only_one_listens(said.address, other.address, manhole=isinstance(said, Manhole)):
            text = f"{what}: {other_what} at {other.place} listens there already: say another address"
            report.fault(said.place, text)
            return


def _only_one_listens(one: ListenAddress, other: ListenAddress, *, manhole: bool) -> bool:
    """Tells whether the first of these addresses cannot be listened on where the second is. Only binds share ports."""
    if one.kind != "tcp" or other.kind != "tcp":
        return one.kind in ("unix", "abns") and str(one) == str(other)
    return manhole and 0 != one.port == other.port and other.host in (one.host, "*", "", "0.0.0.0", "::")


# -- backends ---------------------------------------------------------------------------------------------------------


def _backend(draft: ProxyDraft, answers: bool, paged: bool, global_: GlobalDraft, report: Report) -> None:
    """Checks the backend's side of a section. `paged` tells that a frontend may have a page for 503."""
    if (
        "server" not in draft.said
        and "stats" not in draft.said
        and not (draft.kind == "listen" and draft.default_backend)
        and not answers
        and not _meant_to_answer(draft)
    ):
        report.warn(draft.place, f"{draft.title} has no 'server': {_ends_without_server(draft, paged)}")
    check = check_of(draft)
    host = check_host(check)
    in_steps = isinstance(check, CheckPlan) and any(isinstance(step, Connect) and step.ssl for step in check.steps)
    # After a faulty `default-server` line each server would lack its settings, so servers are not checked.
    # The servers of a template stand on one line, and are checked once.
    servers = {server.place: server for server in reversed(draft.servers)}.values()
    for server in [*servers][::-1] if "default-server" not in draft.unreadable else ():
        _tls(server, global_, report, http=not draft.tcp, in_steps=in_steps, egress=draft.egress)
        validate_identities(server, global_, check, report, http=not draft.tcp)
        _places(server, report)
        _pool(server, host_known(draft, server, host), report, http=not draft.tcp)
        validate_pool(server, draft, report)
        _health(server, report)
        _where(server, check, report)
    validate_egress(draft, report)
    _checks(draft, report)
    _external(draft, global_, report)
    _reuse(draft, report)
    validate_balance(draft, report)
    validate_persistence(draft, report)


def _tls(
    server: ServerDraft, global_: GlobalDraft, report: Report, *, http: bool, in_steps: bool, egress: bool
) -> None:
    """Checks the server's TLS; `in_steps` tells that a step of its checks uses it, too; `egress`, that requests name
    the server."""
    words, name = server.words, server.title
    if words.ssl or words.check.ssl:
        validate_server(server, name, global_, report, http=http)
        verify = words.verify or ("" if "ssl-server-verify" in global_.unreadable else global_.server_verify)
        validate_revocation(server, name, verify, report)
        if verify == "required" and words.tls.ca_file is None and words.identity.ca_file is None:
            text = (
                f"{name}: 'ssl' verifies the server (verify required, the default), and for that needs"
                " 'ca-file <file>', or 'ca-file @system-ca' for the system's CAs; 'verify none' would trust anybody"
            )
            report.fault(server.place, text)
        elif verify == "required" and not _is_named(words):
            add = "add 'verifyhost NAME', or 'sni str(NAME)'"
            if words.ssl and not words.any_name:
                text = f"{name}: no name is said, so whoever has a certificate of its CAs could take its place: {add}"
                report.fault(server.place, f"{text}; 'no-sni-auto' takes any")
            else:
                without = "'no-sni-auto'" if words.ssl else "no 'verifyhost'"
                text = (
                    f"{name}: with {without} and no name any certificate of its CAs is taken for this server's: {add}"
                )
                report.warn(server.place, text)
        elif verify == "none" and not words.tls.pins:
            by = "" if words.ssl else "by its checks "
            text = (
                f"{name}: with 'verify none' whoever answers at its address is taken {by}for this server: say"
                " 'verify required ca-file <file>'"
            )
            report.warn(server.place, text)
        elif (
            words.ssl
            and words.sni is None
            and words.sni_of_requests is not None
            and not egress
            and not words.said & {"sni-auto"}
        ):
            text = (
                f"{name}: no 'sni' is said, so a request's Host is the name that the certificate must carry (sni-auto,"
                " as in HAProxy since 3.3), and each name has connections of its own; 'sni str(NAME)' says one for all"
            )
            report.notice(server.place, text)
        return
    of_tls = {"crt", "ca-file", "sni", "verifyhost", "verify", "check-sni", *ON_SERVERS, *OUR_TLS_WORDS}
    unused = sorted(words.said & of_tls)
    if "no-ssl" in words.said:
        return
    if words.verify == "required" and "verify" in server.own:
        text = f"{name}: 'verify required' without 'ssl' verifies nobody, for it is spoken to in the clear: add 'ssl'"
        report.fault(server.place, text)
    elif demanding := demanding_word(server):
        text = f"{name}: '{demanding}' without 'ssl' verifies nobody, for it is spoken to in the clear: add 'ssl'"
        report.fault(server.place, text)
    elif unused and not (in_steps and words.checked):
        report.warn(server.place, f"{name} has '{unused[0]}' but no 'ssl': it is spoken to in the clear")


def _is_named(words: ServerWords) -> bool:
    """Tells whether the line says which name the server's certificate must carry, or how it depends on the request."""
    tls = words.tls
    return bool(tls.sni or words.sni_of_requests or tls.verifyhost or tls.spiffe or words.identity.verifyhost)


def _unpooled(server: ServerDraft, report: Report, *, http: bool) -> None:
    name, pool = server.title, server.words.pool
    word = "send-proxy" if server.words.send_proxy == "v1" else "send-proxy-v2"
    text = (
        f"{name}: with '{word}' each connection tells for which client it is, so it serves no other,"
        " and none can be warm"
    )
    if _warm(server):
        report.fault(server.place, f"{text}: take out {_floor(pool)}")
    elif pool.keep_checks:
        report.fault(server.place, f"{text}: take out check-reuse-pool")
    elif http:
        report.notice(server.place, text)


def _extensions(server: ServerDraft, report: Report, *, http: bool) -> None:
    """Checks what is added to PROXY headers."""
    words, name, where = server.words, server.title, REQUEST if http else CLIENT_BYTES
    for word, said in (("set-proxy-v2-tlv-fmt", words.extensions), ("proxy-v2-options", words.proxy_options)):
        if said and words.send_proxy != "v2":
            report.warn(server.place, f"{name}: '{word}' does nothing without 'send-proxy-v2'")
    for _, made in words.extensions:
        for expression in made.expressions:
            if (needed := where_of(expression)) not in AT_HAND[where]:
                text = f"{name}: 'set-proxy-v2-tlv-fmt': '{expression}' needs {NEEDED[needed]}, which is not there yet"
                report.fault(server.place, text)


def _places(server: ServerDraft, report: Report) -> None:
    words, name = server.words, server.title
    most = max(words.minconn, words.maxconn)
    for word, said in (("strict-maxconn", words.strict), ("maxqueue", words.maxqueue)):
        if said and not most:
            report.warn(server.place, f"{name}: '{word}' does nothing without 'maxconn'")
    if words.minconn > words.maxconn > 0:
        text = (
            f"{name}: minconn {words.minconn} is more than maxconn {words.maxconn}, and taken for both, as in HAProxy"
        )
        report.warn(server.place, text)


def _warm(server: ServerDraft) -> bool:
    """Tells whether connections are to be opened before there is a request."""
    return server.words.pool.min_conn > 0 or server.words.pool.adapts


def _floor(pool: PoolLimits) -> str:
    """Returns `pool-min-conn` with its values."""
    if not pool.adapts:
        return f"pool-min-conn {pool.min_conn}"
    most = "" if pool.most_floor is None else f" {pool.most_floor}"
    return f"pool-min-conn auto {pool.min_conn}{most}"


def _pool(server: ServerDraft, check_host: str | None, report: Report, *, http: bool) -> None:
    pool, name = server.words.pool, server.title
    if pool.keep_checks and not server.words.checked:
        report.warn(server.place, f"{name}: 'check-reuse-pool' does nothing without 'check'")
    words = server.words
    _extensions(server, report, http=http)
    if words.send_proxy:
        _unpooled(server, report, http=http)
    sni, named = words.sni_of_requests, words.pool_conn_name
    if sni is not None and named is not None and named.fetch.name == "str" and words.verify != "none":
        text = (
            f"{name}: 'pool-conn-name {named}' has requests of all names share connections, so of the server the name"
            " in the first request of each is verified, and not those of the others"
        )
        report.warn(server.place, text)
    if not _warm(server):
        return
    if words.identity != IdentityRule():
        pass  # see `validate_identities`
    elif sni is not None and words.known_name(check_host) is None:
        said = "no 'sni' (so the Host of each request is its server's name)" if words.sni is None else f"'sni {sni}'"
        text = (
            f"{name}: {_floor(pool)} with {said}: no connection can be opened before a request says"
            " its name; say 'sni str(NAME)', or add 'check-sni NAME' for the one name that is to be warm"
        )
        report.fault(server.place, text)
    elif words.pool_conn_name is not None and words.pool_conn_name.fetch.name != "str":
        text = (
            f"{name}: {_floor(pool)} with 'pool-conn-name {words.pool_conn_name}': no connection can be"
            " opened before a request says its name"
        )
        report.fault(server.place, text)
    highest = max(pool.min_conn, pool.most_floor or 0)
    if pool.max_conn is not None and highest > pool.max_conn:
        report.fault(server.place, f"{name}: {_floor(pool)} is more than pool-max-conn {pool.max_conn}")
    elif pool.adapts and pool.max_conn == 0:
        report.fault(server.place, f"{name}: {_floor(pool)} with pool-max-conn 0: no connection may stand idle")
    most = max(server.words.minconn, server.words.maxconn)
    if 0 < most < highest:
        text = f"{name}: {_floor(pool)} is more than maxconn {most}: the rest is never used"
        report.warn(server.place, text)
    if pool.max_reuse == 0 and http:
        text = f"{name}: with max-reuse 0 every warm connection serves one request, and each request costs a handshake"
        report.warn(server.place, text)


def _where(server: ServerDraft, check: HTTPCheck | CheckPlan | None, report: Report) -> None:
    """Checks a server that is where its clients have connected to: nothing is known of that before one comes."""
    words, name, address = server.words, server.title, server.address
    everywhere = address.kind == "tcp" and address.host in CLIENTS_HOSTS
    if address.mapped is None and not everywhere:
        return
    what = "address" if everywhere else "port"
    steps = check.steps if isinstance(check, CheckPlan) else ()
    connects = [step for step in steps if isinstance(step, Connect)]
    in_steps = bool(connects) and all((step.port or step.addr_port) is not None for step in connects)
    if address.mapped is not None and words.checked and words.check.own_port is None and not in_steps:
        text = f"{name} has the port to which the client connects, and checks connect before one does: add 'port'"
        report.fault(server.place, text)
    elif address.mapped == 0:
        text = f"{name} says no port, so it has the one to which the client has connected"
        report.notice(server.place, text)
    if words.pool.min_conn:
        text = (
            f"{name}: pool-min-conn {words.pool.min_conn} with the {what} to which the client connects: no connection"
            " can be opened before there is a client"
        )
        report.fault(server.place, text)


def _health(server: ServerDraft, report: Report) -> None:
    words, what = server.words, server.title
    if words.track and words.checked:
        report.fault(server.place, f"{what}: 'track' takes another server's state, so it has no 'check' of its own")
    if words.observe not in ("", "none") and not words.checked:
        report.warn(server.place, f"{what}: 'observe' does nothing without 'check'")
    if words.asks_agent and not (words.agent.port or words.check.port):
        report.warn(server.place, f"{what}: 'agent-check' does nothing without 'agent-port' or 'port'")
    if words.asks_agent and words.track:
        report.fault(
            server.place, f"{what}: 'track' takes another server's state, so it has no 'agent-check' of its own"
        )
    if words.track and words.disabled:
        report.warn(
            server.place, f"{what}: 'disabled' counts beside 'track': it is in maintenance until that is ordered"
        )


def _tracked(drafts: Sequence[ProxyDraft], report: Report) -> None:
    """Checks that servers which `track` lead to one with checks, and not in a circle."""
    servers = {f"{draft.name}/{each.name}": each for draft in drafts if "B" in draft.sides for each in draft.servers}
    disabled = {draft.name for draft in drafts if draft.disabled}
    for name, server in servers.items():
        backend = name.rpartition("/")[0]
        if backend in disabled:
            continue
        seen, track, fault = [name], server.words.track, ""
        while track and not fault:
            full = track if "/" in track else f"{seen[-1].rpartition('/')[0]}/{track}"
            found = servers.get(full)
            if found is None or full.rpartition("/")[0] in disabled:
                fault = f"there is no server '{full}'{did_you_mean(full, servers)}"
            elif full in seen:
                fault = f"'{full}' tracks it in turn"
            elif not (found.words.track or found.words.checked or found.words.asks_agent):
                fault = f"'{full}' has no 'check', so its state never changes"
            else:
                seen.append(full)
                track = found.words.track
        if fault:
            report.fault(server.place, f"{server.title}: 'track {server.words.track}': {fault}")


def _checks(draft: ProxyDraft, report: Report) -> None:
    if draft.unreadable & {"option httpchk", "http-check"}:
        return
    if (draft.hello is None or draft.hello.protocol != "tcp") and draft.own_tcp_checks:
        report.warn(draft.said["tcp-check"], f"'tcp-check' does nothing {_without('tcp-check', draft)}")
    if "option httpchk" not in draft.said or draft.hello is not None:
        for rule in sorted(each for each in draft.own if each.startswith("http-check ")):
            tell = report.notice if rule in ("http-check disable-on-404", "http-check send-state") else report.warn
            tell(draft.said[rule], f"'{rule}' does nothing {_without('httpchk', draft)}")
        return
    if draft.httpchk is None or not draft.own & {"option httpchk", "http-check send"}:
        return
    check = check_of(draft)
    first = check.first_request if isinstance(check, CheckPlan) else check
    if first is not None and first.version == "HTTP/1.1" and host_asked_for(first) is None:
        said = "http-check send" if "http-check send" in draft.own else "option httpchk"
        request = f"option httpchk {first.method} {first.uri} HTTP/1.1 NAME"
        todo = request if said == "option httpchk" else "http-check send … hdr Host NAME"
        text = f"an HTTP/1.1 check without a Host header is refused by most servers: '{todo}'"
        report.warn(draft.said[said], text)


def _external(draft: ProxyDraft, global_: GlobalDraft, report: Report) -> None:
    """Checks what `option external-check` needs, in HAProxy's words."""
    if draft.hello is None or draft.hello.protocol != "external" or draft.kind == "defaults":
        return
    place = draft.said.get("option external-check", draft.place)
    if not global_.external_check and "external-check" not in global_.unreadable:
        text = f"{draft.title}: 'option external-check' needs 'external-check' in section 'global': it runs programs"
        report.fault(place, text)
    if not draft.check_command and "external-check" not in draft.unreadable:
        report.fault(place, f"{draft.title}: 'option external-check' needs 'external-check command <program>'")
    elif "/" not in draft.check_command and not draft.check_path:
        text = (
            f"'external-check command {draft.check_command}' is looked for nowhere: say its path, or 'external-check"
            " path /usr/bin:/bin'"
        )
        report.warn(draft.said.get("external-check", draft.place), text)


def _without(option: str, draft: ProxyDraft) -> str:
    """Says why a section has no checks of this option: another one has come in its place, or it has none."""
    other = "httpchk" if draft.hello is None else OPTION_OF_CHECKS[draft.hello.protocol]
    place = draft.said.get(f"option {other}")
    if other == option or place is None:
        return f"without 'option {option}'"
    instead = f", which counts in place of 'option {option}'" if f"option {option}" in draft.said else ""
    return f"beside 'option {other}' ({place}){instead}"


def _notice_of_reuse(drafts: Iterable[ProxyDraft], report: Report) -> None:
    """Says once what checks by requests have to do with reuse: nothing. Articles that recommend them for it write one
    of HTTP/1.1 with its headers; to all others this would be noise."""
    checked = [
        draft
        for draft in drafts
        if "option httpchk" in draft.said
        and draft.httpchk is not None
        and draft.httpchk.version == "HTTP/1.1"
        and draft.httpchk.headers
        and draft.hello is None
        and "http-reuse" not in draft.said
        and draft.servers
        and not draft.tcp
        and not draft.disabled
        and not any(server.words.said & _POOL_WORDS for server in draft.servers)
        and not draft.unreadable & {"option httpchk", "server", "default-server"}
    ]
    if checked:
        first = checked[0]
        names = ", ".join(f"'{each.name}'" for each in checked)
        text = (
            f"'option httpchk' does not affect reuse in {names}. Connections to servers are reused because"
            " 'http-reuse' is unset (any request that can be repeated takes an idle one); 'pool-min-conn N' on the"
            " 'server' lines keeps N of them open ahead of requests"
        )
        report.notice(first.said["option httpchk"] if "option httpchk" in first.own else first.place, text)


def _reuse(draft: ProxyDraft, report: Report) -> None:
    """Checks `http-reuse`, the connection modes and the pool words against each other."""
    if draft.tcp:
        return
    warm = [server for server in draft.servers if _warm(server)]
    if "max-keep-alive-queue" in draft.own and not draft.prefer_last:
        text = "'max-keep-alive-queue' does nothing without 'option prefer-last-server'"
        report.notice(draft.said["max-keep-alive-queue"], text)
    if draft.hedge is not None and draft.http_reuse == "never":
        text = f"{draft.title}: 'hedge' does nothing with 'http-reuse never', where each connection is one client's"
        report.warn(draft.said["hedge"], text)
    if not warm:
        return
    if draft.http_reuse in _REUSE_WARNINGS and (draft.http_reuse == "never" or not draft.retry_on >= SAFE_TO_REUSE):
        text = f"{draft.title}: 'http-reuse {draft.http_reuse}' with pool-min-conn: {_REUSE_WARNINGS[draft.http_reuse]}"
        report.warn(draft.said["http-reuse"], text)
    if option := ENDING_OPTIONS.get(draft.connection_mode or "", ""):
        text = f"{draft.title}: with '{option}' every warm connection (pool-min-conn) is closed after one request"
        report.warn(draft.said.get(option, draft.place), text)


_INSTEAD = "take 'http-reuse' out, or write 'http-reuse always'"
_REUSE_WARNINGS = {
    "never": f"no request may use the warm connections; {_INSTEAD}",
    "safe": (
        "the first request of a client never uses a warm connection, so clients that send one request never do;"
        f" {_INSTEAD}"
    ),
    "aggressive": (
        "the first request of a client uses only connections that have been reused before, so clients that send one"
        f" request hardly use the warm ones; {_INSTEAD}"
    ),
}
