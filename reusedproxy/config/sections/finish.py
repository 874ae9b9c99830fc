"""Turns drafts into the model's values: applies fallbacks, writes out `log global`, finishes servers.

Makes no check that needs the whole configuration: those are in `config.validate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from attrs import evolve

from reusedproxy.config.checks.plan import hello_plan, http_plan, tcp_plan
from reusedproxy.config.checks.requests import host_asked_for
from reusedproxy.config.language.report import Report
from reusedproxy.config.model.balance import NEEDS_HTTP, Balance
from reusedproxy.config.model.checks import CheckPlan, Connect, External, HTTPCheck
from reusedproxy.config.model.logs import Captures, LogSettings, LogTarget
from reusedproxy.config.model.names import DEFAULT, Resolvers
from reusedproxy.config.model.persistence import Stick
from reusedproxy.config.model.proxies import Backend, Frontend, Timeouts
from reusedproxy.config.model.rules import Format, Rule, Rules
from reusedproxy.config.model.tables import Judged, StickTable, Stored
from reusedproxy.config.rules.acls import resolved, resolved_backend, resolved_use_server
from reusedproxy.config.rules.bandwidth import with_filter
from reusedproxy.config.rules.formats import STANDARD, needs_answer, read_format
from reusedproxy.config.rules.tables import with_table
from reusedproxy.config.sections.binds import finished_bind
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.errors import Groups, error_pages, with_file
from reusedproxy.config.sections.finished_servers import finished_server, numbered
from reusedproxy.config.sections.globals import GlobalDraft
from reusedproxy.config.sections.peers import PeersDraft
from reusedproxy.config.sections.resolvers import ResolversDraft
from reusedproxy.config.sections.servers import ServerDraft
from reusedproxy.config.sections.stats import finished_stats


def frontend(draft: ProxyDraft, global_: GlobalDraft, groups: Groups) -> Frontend:
    """Returns the client side of a `frontend` or `listen`."""
    default = draft.default_backend.name if draft.default_backend else None
    return Frontend(
        name=draft.name,
        place=draft.place,
        mode=draft.mode or "tcp",
        binds=tuple(finished_bind(bind, draft.backlog, http=not draft.tcp) for bind in draft.binds),
        default_backend=default or (draft.name if draft.kind == "listen" else None),
        use_backends=with_table(tuple(resolved_backend(rule, draft.acls) for rule in draft.use_backends), draft.name),
        rules=_rules(draft, groups),
        buffers_request=draft.buffers_request,
        compression=draft.compression,
        restricts_names=draft.restricts_names,
        originalto=draft.originalto,
        errors=error_pages(draft.errors, groups),
        maxconn=draft.maxconn,
        session_rate=draft.session_rate,
        timeouts=_frontend_timeouts(draft.timeouts),
        connection_mode=draft.connection_mode or "keep-alive",
        forwardfor=draft.forwardfor,
        logs=_logs(draft, global_),
        event_logs=_event_logs(draft, global_),
        log_format=log_format(draft),
        log=_log_settings(draft),
        captures=captures(draft),
        unique_id=_format(draft, "unique-id-format"),
        unique_id_header=draft.unique_id_header,
        dontlognull=draft.dontlognull,
        ignores_probes=draft.ignores_probes,
        socket_stats=draft.socket_stats,
        description=draft.description,
        id=draft.id,
        clitcpka=draft.clitcpka,
        keep_alive=draft.client_keep_alive,
        uses_proxy_header=draft.uses_proxy_header,
        spells_for_clients=draft.h1_case_adjust_bogus_client,
        disabled=draft.disabled,
        stats=with_table(finished_stats(draft), draft.name),
        monitor_uri=draft.monitor_uri,
        inspect_delay=draft.inspect_delay,
    )


def backend(draft: ProxyDraft, global_: GlobalDraft, groups: Groups) -> Backend:
    """Returns the server side of a `backend` or `listen`."""
    check = check_of(draft, global_)
    plan = check if isinstance(check, CheckPlan) else None
    host = check_host(check)
    tls = plan is not None and any(isinstance(step, Connect) and step.ssl for step in plan.steps)
    servers = [
        finished_server(
            server,
            global_.server_verify,
            host_known(draft, server, host),
            draft.name,
            tls_in_steps=tls and server.words.checked,
            egress=draft.egress,
            http=not draft.tcp,
        )
        for server in draft.servers
    ]
    return Backend(
        name=draft.name,
        place=draft.place,
        mode=draft.mode or "tcp",
        of_listen=draft.sides == "FB",
        servers=with_table(numbered(servers), draft.name),
        timeouts=_backend_timeouts(draft.timeouts),
        connection_mode=draft.connection_mode or "keep-alive",
        forwardfor=draft.forwardfor,
        balance=Balance()
        if draft.tcp and draft.balance.algorithm in NEEDS_HTTP
        else with_table(draft.balance, draft.name),
        hash_type=draft.hash_type,
        http_reuse=draft.http_reuse,
        retries=draft.retries,
        retry_on=draft.retry_on,
        hedge=None if draft.tcp else draft.hedge,
        redispatch=draft.redispatch,
        allbackups=draft.allbackups,
        prefer_last=draft.prefer_last,
        max_keep_alive_queue=draft.max_keep_alive_queue,
        prefer_warm=draft.prefer_warm,
        egress=draft.egress,
        use_servers=with_table(tuple(resolved_use_server(rule, draft.acls) for rule in draft.use_servers), draft.name),
        abortonclose=draft.abortonclose,
        upgrade_with_body=draft.upgrade_with_body,
        pretends_keepalive=draft.pretends_keepalive,
        spells_for_servers=draft.h1_case_adjust_bogus_server,
        name_header=draft.name_header,
        fullconn=draft.fullconn,
        keep_alive=draft.server_keep_alive,
        source=draft.source,
        http_check=check if isinstance(check, HTTPCheck) else None,
        check_plan=plan,
        log_health_checks=draft.log_health_checks,
        description=draft.description,
        id=draft.id,
        disabled=draft.disabled,
        stats=with_table(finished_stats(draft), draft.name),
        event_logs=_event_logs(draft, global_),
        log_tag=draft.log_tag,
        rules=_rules(draft, groups),
        buffers_request=draft.buffers_request,
        compression=draft.compression,
        restricts_names=draft.restricts_names,
        forwarded=draft.forwarded,
        originalto=draft.originalto,
        errors=error_pages(draft.errors, groups),
        cookie=draft.cookie,
        dynamic_cookie_key=draft.dynamic_cookie_key,
        persist=draft.persist,
        inspect_delay=draft.inspect_delay,
        response_delay=draft.response_delay,
        state_from=draft.state_from,
        state_file=draft.state_file,
    )


def number(drafts: Sequence[ProxyDraft], runtime_api_at: int | None, report: Report) -> None:
    """Gives each section that says none a number (`id`): the free ones in the order of the file, as in HAProxy. There
    the runtime API is a section among them, which takes a number and is not shown: it comes behind the first
    `runtime_api_at` of them (None: there is none). Reports numbers that are said twice."""
    taken: dict[int, ProxyDraft] = {}
    for draft in drafts:
        if draft.id in taken:
            other = taken[draft.id]
            report.fault(draft.place, f"{draft.title} has the id {draft.id}, which {other.title} has ({other.place})")
        if draft.id:
            taken[draft.id] = draft
    free = (each for each in count(1) if each not in taken)
    for at, draft in enumerate(drafts):
        if at == runtime_api_at:
            next(free)
        draft.id = draft.id or next(free)


def log_format(draft: ProxyDraft) -> str:
    """Returns the format of the section's access log. As in HAProxy, `option httplog` and its like in a section that is
    not of `mode http` count as `option tcplog`."""
    if draft.tcp and draft.log_format.startswith("http"):
        return "tcplog"
    return draft.log_format


def _log_settings(draft: ProxyDraft) -> LogSettings:
    standard = STANDARD.get(log_format(draft))
    made = _format(draft, "log-format") if standard is None else read_format(standard, "", of_log=True)
    data = _format(draft, "log-format-sd")
    return LogSettings(
        format=made,
        data=data,
        notes_connections=any(needs_answer(each) for each in (made, data) if each is not None),
        errors=_format(draft, "error-log-format"),
        early=draft.logasap,
        separate_errors=draft.log_separate_errors,
        errors_only=draft.dontlog_normal,
        tag=draft.log_tag,
    )


def _format(draft: ProxyDraft, keyword: str) -> Format | None:
    line = draft.formats.get(keyword)
    return None if line is None else with_table(line.format, draft.name)


def captures(draft: ProxyDraft) -> Captures:
    """Returns what the section captures for its log."""
    cookie, length = draft.captured_cookie
    return Captures(tuple(draft.captured["request"]), tuple(draft.captured["response"]), cookie, length)


def _external(draft: ProxyDraft, global_: GlobalDraft | None) -> External:
    """Returns what `option external-check` runs. The address of a `listen` is that of its first `bind`, as in
    HAProxy."""
    bind = next((each.bind.address for each in draft.binds if each.bind.address.kind in ("tcp", "unix")), None)
    proxy = ("", "")
    if bind is not None:
        proxy = (bind.path, "") if bind.path else (bind.host or ("::" if bind.v6 else "0.0.0.0"), str(bind.port))
    protocol = "tcp" if draft.tcp else "h1"
    keeps_environment = global_ is not None and global_.external_check == "preserve-env"
    gains_rights = global_ is not None and global_.gains_rights
    return External(
        *(draft.check_command, draft.check_path, keeps_environment, draft.name, draft.id, proxy, protocol, gains_rights)
    )


def check_of(draft: ProxyDraft, global_: GlobalDraft | None = None) -> HTTPCheck | CheckPlan | None:
    """Returns the check of the section's servers; None where it is a connection only."""
    if draft.hello is not None and draft.hello.protocol == "external":
        return CheckPlan("external", external=_external(draft, global_))
    if draft.hello is not None:
        return tcp_plan(draft.tcp_steps) if draft.hello.protocol == "tcp" else hello_plan(draft.hello)
    if draft.httpchk is None:
        return None
    return http_plan(draft.httpchk, draft.http_steps, disable_on_404=draft.disable_on_404, send_state=draft.send_state)


def check_host(check: HTTPCheck | CheckPlan | None) -> str | None:
    """Returns the Host of the section's HTTP checks, without its port; None if there is none."""
    return host_asked_for(check.first_request if isinstance(check, CheckPlan) else check)


def host_known(draft: ProxyDraft, server: ServerDraft, of_checks: str | None) -> str | None:
    """Returns the host that is known before a request, where requests name it: that of HTTP checks, and with `option
    egress` the server's own."""
    address = server.address
    return address.host.removesuffix(".").lower() if draft.egress and address.kind == "tcp" else of_checks


def resolvers(drafts: Iterable[ResolversDraft], backends: Iterable[Backend]) -> dict[str, Resolvers]:
    """Returns the `resolvers` sections by name; the section "default" of HAProxy's among them if a server names it."""
    found = {draft.name: draft.settings for draft in drafts}
    for backend in backends:
        for server in backend.servers:
            if server.resolution.resolvers == DEFAULT and DEFAULT not in found:
                found[DEFAULT] = Resolvers(DEFAULT, server.place, resolv_conf=server.place)
    return found


def _rules(draft: ProxyDraft, groups: Groups) -> Rules:
    """Returns the section's rules with all lines of the ACLs, and the files of the groups, that they name."""

    def whole(rules: list[Rule]) -> tuple[Rule, ...]:
        made = (with_filter(with_file(resolved(rule, draft.acls), groups), draft.bandwidths) for rule in rules)
        return with_table(tuple(made), draft.name)

    return Rules(
        whole(draft.request_rules),
        whole(draft.redirects),
        whole(draft.response_rules),
        whole(draft.after_rules),
        whole(draft.connection_rules),
        whole(draft.monitor_fails),
        whole(draft.persist_rules),
        whole(draft.content_rules),
        whole(draft.response_content_rules),
        whole(draft.session_rules),
        whole(draft.stick_rules),
    )


def tables(drafts: Iterable[ProxyDraft | PeersDraft], judged: Judged) -> dict[str, StickTable]:
    """Returns all stick tables by name, in the order written: a proxy's has its name. All judge answers alike."""
    found: dict[str, StickTable] = {}
    for draft in drafts:
        if isinstance(draft, PeersDraft):
            found.update(draft.tables)
        elif draft.stick_table is not None:
            found.setdefault(draft.name, draft.stick_table)
    return {name: evolve(table, judged=judged) for name, table in found.items()}


def with_servers(tables: Mapping[str, StickTable], backends: Iterable[Backend]) -> dict[str, StickTable]:
    """Returns the tables, with servers stored in those to which `stick` rules refer, as in HAProxy."""
    made = dict(tables)
    for backend in backends:
        for rule in backend.rules.stick:
            if isinstance(rule.action, Stick) and rule.action.table in made:
                table = made[rule.action.table]
                there = {each.type for each in table.stored}
                more = tuple(Stored(name) for name in ("server_id", "server_key") if name not in there)
                made[table.name] = evolve(table, stored=(*table.stored, *more))
    return made


def _logs(draft: ProxyDraft, global_: GlobalDraft) -> tuple[LogTarget, ...]:
    return (*(global_.logs if draft.log_global else ()), *draft.logs)


def _event_logs(draft: ProxyDraft, global_: GlobalDraft) -> tuple[LogTarget, ...]:
    """Returns the log targets of a section's events.

    HAProxy sends them to the section's own `log` lines, and nowhere without any. Here the global section's targets get
    them, unless the section has a `log` or `no log` line.
    """
    return _logs(draft, global_) if draft.log_said else tuple(global_.logs)


def _frontend_timeouts(said: Timeouts) -> Timeouts:
    """Returns the client side's timeouts: `http-keep-alive` falls back on `http-request`, and both on `client`."""
    http_request = said.http_request or said.client
    return Timeouts(
        client=said.client,
        client_fin=said.client_fin,
        client_hs=said.client_hs,
        http_request=http_request,
        http_keep_alive=said.http_keep_alive or http_request,
        tarpit=said.tarpit or said.connect,
    )


def _backend_timeouts(said: Timeouts) -> Timeouts:
    """Returns the server side's timeouts: `queue` falls back on `connect`.

    `tunnel` None: the client and server timeouts stay in force. `check` None: the check's interval limits the whole
    check.
    """
    return Timeouts(
        connect=said.connect,
        server=said.server,
        queue=said.queue or said.connect,
        check=said.check,
        tunnel=said.tunnel,
        server_fin=said.server_fin,
        tarpit=said.tarpit or said.connect,
    )
