"""Turns drafts into the model's values: applies fallbacks, writes out `log global`, finishes servers.

Makes no check that needs the whole configuration: those are in `config.validate`.
"""

from __future__ import annotations

from collections.abc import Iterable

from reusedproxy.config.checks.plan import hello_plan, http_plan, tcp_plan
from reusedproxy.config.checks.requests import host_asked_for
from reusedproxy.config.model.balance import NEEDS_HTTP, Balance
from reusedproxy.config.model.checks import CheckPlan, Connect, HTTPCheck
from reusedproxy.config.model.names import DEFAULT, Resolvers
from reusedproxy.config.model.proxies import Backend, Frontend, LogTarget, Timeouts
from reusedproxy.config.model.rules import Rule, Rules
from reusedproxy.config.rules.acls import resolved, resolved_backend, resolved_use_server
from reusedproxy.config.sections.binds import finished_bind
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.errors import Groups, error_pages, with_file
from reusedproxy.config.sections.globals import GlobalDraft
from reusedproxy.config.sections.resolvers import ResolversDraft
from reusedproxy.config.sections.servers import finished_server, numbered
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
        use_backends=tuple(resolved_backend(rule, draft.acls) for rule in draft.use_backends),
        rules=_rules(draft, groups),
        errors=error_pages(draft.errors, groups),
        maxconn=draft.maxconn,
        session_rate=draft.session_rate,
        timeouts=_frontend_timeouts(draft.timeouts),
        connection_mode=draft.connection_mode or "keep-alive",
        forwardfor=draft.forwardfor,
        logs=_logs(draft, global_),
        event_logs=_event_logs(draft, global_),
        log_format=log_format(draft),
        dontlognull=draft.dontlognull,
        socket_stats=draft.socket_stats,
        description=draft.description,
        clitcpka=draft.clitcpka,
        uses_proxy_header=draft.uses_proxy_header,
        disabled=draft.disabled,
        stats=finished_stats(draft),
        monitor_uri=draft.monitor_uri,
        inspect_delay=draft.inspect_delay,
    )


def backend(draft: ProxyDraft, global_: GlobalDraft, groups: Groups) -> Backend:
    """Returns the server side of a `backend` or `listen`."""
    check = check_of(draft)
    plan = check if isinstance(check, CheckPlan) else None
    host = check_host(check)
    tls = plan is not None and any(isinstance(step, Connect) and step.ssl for step in plan.steps)
    servers = [
        finished_server(server, global_.server_verify, host, draft.name, tls_in_steps=tls and server.words.checked)
        for server in draft.servers
    ]
    return Backend(
        name=draft.name,
        place=draft.place,
        mode=draft.mode or "tcp",
        servers=numbered(servers),
        timeouts=_backend_timeouts(draft.timeouts),
        connection_mode=draft.connection_mode or "keep-alive",
        forwardfor=draft.forwardfor,
        balance=Balance() if draft.tcp and draft.balance.algorithm in NEEDS_HTTP else draft.balance,
        hash_type=draft.hash_type,
        http_reuse=draft.http_reuse,
        retries=draft.retries,
        retry_on=draft.retry_on,
        redispatch=draft.redispatch,
        allbackups=draft.allbackups,
        prefer_last=draft.prefer_last,
        max_keep_alive_queue=draft.max_keep_alive_queue,
        prefer_warm=draft.prefer_warm,
        use_servers=tuple(resolved_use_server(rule, draft.acls) for rule in draft.use_servers),
        abortonclose=draft.abortonclose,
        upgrade_with_body=draft.upgrade_with_body,
        fullconn=draft.fullconn,
        http_check=check if isinstance(check, HTTPCheck) else None,
        check_plan=plan,
        log_health_checks=draft.log_health_checks,
        description=draft.description,
        disabled=draft.disabled,
        stats=finished_stats(draft),
        event_logs=_event_logs(draft, global_),
        rules=_rules(draft, groups),
        errors=error_pages(draft.errors, groups),
        cookie=draft.cookie,
        dynamic_cookie_key=draft.dynamic_cookie_key,
        persist=draft.persist,
        inspect_delay=draft.inspect_delay,
        response_delay=draft.response_delay,
    )


def log_format(draft: ProxyDraft) -> str:
    """Returns the format of the section's access log. As in HAProxy, `option httplog` in a section that is not of `mode
    http` counts as `option tcplog`."""
    return "tcplog" if draft.log_format == "httplog" and draft.tcp else draft.log_format


def check_of(draft: ProxyDraft) -> HTTPCheck | CheckPlan | None:
    """Returns the check of the section's servers; None where it is a connection only."""
    if draft.hello is not None:
        return tcp_plan(draft.tcp_steps) if draft.hello.protocol == "tcp" else hello_plan(draft.hello)
    if draft.httpchk is None:
        return None
    return http_plan(draft.httpchk, draft.http_steps, disable_on_404=draft.disable_on_404, send_state=draft.send_state)


def check_host(check: HTTPCheck | CheckPlan | None) -> str | None:
    """Returns the Host of the section's HTTP checks, without its port; None if there is none."""
    return host_asked_for(check.first_request if isinstance(check, CheckPlan) else check)


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
        return tuple(with_file(resolved(rule, draft.acls), groups) for rule in rules)

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
    )


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
    )
