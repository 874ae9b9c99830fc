"""Makes the model's servers of what `server` lines say, when all lines have been read.

Knows which words belong together. Must never parse a word.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from reusedproxy.config.language.files import based_path
from reusedproxy.config.model.checks import Agent, Observe
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.proxies import Server, Spread
from reusedproxy.config.model.values import PUBLIC
from reusedproxy.config.sections.server_words import ServerWords
from reusedproxy.config.sections.servers import ServerDraft
from reusedproxy.config.tls.words import TLSDefaults, offered_protocols, versions


def finished_server(
    draft: ServerDraft,
    default_verify: str,
    check_host: str | None,
    backend: str = "",
    *,
    tls_in_steps: bool = False,
    egress: bool = False,
    http: bool = True,
) -> Server:
    """Returns the model's server, with base directories prepended to relative paths.

    `check_host` is the Host of the HTTP check; `tls_in_steps` tells that a step of the checks asks for TLS; `egress`,
    that requests name the server; `http`, that it is spoken to in HTTP, so that only what is done of that is offered.
    """
    words, defaults = draft.words, draft.defaults
    observes = words.checked and words.observe not in ("", "none")
    maxconn = max(words.minconn, words.maxconn)  # as in HAProxy, where `minconn` alone sets both
    tls = None
    if words.ssl or words.check.ssl or tls_in_steps:
        ca_file = words.tls.ca_file
        if ca_file is not None:
            ca_file = based_path(ca_file, defaults.base_of_authorities)
        ours = None if words.tls.crt is None else defaults.certificate(words.tls.crt)
        said = {**defaults.server.said, **words.parameters.said}
        if "crl_file" in said:
            said["crl_file"] = based_path(said["crl_file"], defaults.base_of_authorities)
        if http and "alpn" in said:
            said["alpn"] = offered_protocols(said["alpn"], "alpn")
        oldest, newest = versions(words.parameters, defaults.server)
        said["crl_fetched"] = bool(words.revocations.urls)
        tls = evolve(words.tls, verify=words.verify or default_verify, ca_file=ca_file, **said)
        if ours is not None:
            tls = evolve(tls, crt=ours.path, key=ours.key)
        tls = evolve(tls, min_version=oldest, max_version=newest, by_request=tuple(words.identity.formats))
        if words.pool.spread == Spread():
            tls = evolve(tls, resumes=False)  # what a resumed session shows is the certificate of its first handshake
    return Server(
        name=draft.name,
        template=draft.template,
        place=draft.place,
        kind=draft.address.kind,
        host=draft.address.host,
        port=draft.address.port,
        mapped=draft.address.mapped,
        weight=words.weight,
        id=words.id,
        guid=words.guid,
        hash_key=words.hash_key,
        slowstart=words.slowstart,
        user_timeout=words.user_timeout,
        source=words.source,
        congestion=words.congestion,
        warm_up=words.warm_up,
        standby=words.standby,
        backup=words.backup,
        disabled=words.disabled,
        minconn=words.minconn,
        maxconn=maxconn,
        maxqueue=words.maxqueue,
        check=evolve(words.check, send_proxy=_check_proxy(words)) if words.checked else None,
        send_proxy=words.send_proxy,
        proxy_options=words.proxy_options,
        extensions=words.extensions,
        tls=tls if words.ssl else None,
        check_tls=tls if words.check.ssl else None,
        step_tls=tls if tls_in_steps and not words.ssl and not words.check.ssl else None,
        sni=words.sni_of_requests,
        identities=_identities(words, defaults),
        agent=_agent(words),
        observe=Observe(words.observe, words.error_limit, words.on_error) if observes else None,
        track=words.track if "/" in words.track or not words.track else f"{backend}/{words.track}",
        init_state=words.init_state,
        ends_when_down=words.ends_when_down,
        ends_backups_when_up=words.ends_backups_when_up,
        pool_conn_name=words.pool_conn_name,
        known_name=words.known_name(check_host),
        resolution=words.resolution,
        cookie=words.cookie,
        non_stick=words.non_stick,
        revocations=words.revocations if words.revocations.urls and tls is not None else None,
        record=words.record,
        reach=(PUBLIC,) if egress and words.reach is None else words.reach or (),
        pool=evolve(words.pool, most=maxconn or None) if words.strict else words.pool,
    )


def _identities(words: ServerWords, defaults: TLSDefaults) -> IdentityRule | None:
    """Returns what of its TLS depends on the request; None where nothing does, and none is listed."""
    rule = words.identity
    if not words.ssl or rule == IdentityRule():
        return None
    return evolve(
        rule,
        listed=based_path(rule.listed, defaults.files) if rule.listed else "",
        crt_base=defaults.base_of_certificates,
        ca_base=defaults.base_of_authorities,
    )


def _agent(words: ServerWords) -> Agent | None:
    """Returns how the agent is asked; where it has no address or no port of its own, at that of the checks, as in
    HAProxy."""
    agent, check = words.agent, words.check
    port = agent.port or check.port
    if not words.asks_agent or not port:
        return None
    return evolve(agent, port=port, addr=check.addr if agent.addr is None else agent.addr)


def numbered(servers: Sequence[Server]) -> tuple[Server, ...]:
    """Returns the servers with a number each (`id`): those that have none get the free ones from
    their place on, as in HAProxy."""
    taken = {server.id for server in servers}
    made: list[Server] = []
    number = 1
    for server in servers:
        if not server.id:
            while number in taken:
                number += 1
            taken.add(number)
            server = evolve(server, id=number)
        number += 1
        made.append(server)
    return tuple(made)


def _check_proxy(words: ServerWords) -> str:
    """Returns the PROXY protocol version for checks, "" for none.

    As in HAProxy it is the traffic's, unless the check has an address or port of its own; `check-send-proxy` always
    enables it.
    """
    elsewhere = words.check.port is not None or words.check.addr is not None
    if words.check_send_proxy:
        return words.send_proxy or "v1"
    return "" if elsewhere else words.send_proxy
