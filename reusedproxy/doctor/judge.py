"""Judges what was seen of one server: what is in order, what to know, and what is wrong, each with what to do or write.

Pure. It must never know how anything was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from attrs import frozen
from cryptography import x509

from reusedproxy.config import model
from reusedproxy.doctor.observations import OPTIONS, USUAL, Asked, Observed, Refusal, Stood
from reusedproxy.net.dial import TCP_CONNECT
from reusedproxy.net.outgoing import FROM_NOWHERE
from reusedproxy.net.tls.observed import Handshake, ObservedContext
from reusedproxy.net.tls.pins import pin_of
from reusedproxy.net.tls.svid import SPIFFE
from reusedproxy.net.tls.transport import TLS_FAILED
from reusedproxy.net.tls.words import certificate_words, name_of, several
from reusedproxy.pool.learning.idle_timeout import margin

# Levels of findings.
TROUBLE = "trouble"  # requests fail, or soon will; or the pool cannot do its work
ADVICE = "advice"  # it works, and costs more than it need
SKIPPED = "skipped"  # the server was not examined
FINE = "fine"

#: Days before its end from which on a certificate is trouble.
SOON = 14
#: The floor for which is reckoned where the file has none.
SUPPOSED = 4
#: Handshakes a second for a floor that nobody uses from which on there is advice, as in `pool.advice`.
CHURN = 0.5

# OpenSSL's numbers (X509_V_ERR).
_NOT_YET, _EXPIRED = 9, 10
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
_REVOKED, _NO_CRL, _CRL_OVER = 23, 3, 12
_PURPOSE = 26


@frozen
class Finding:
    """Holds one thing that was found. `topic` is a word for programs, `remedy` what to do or write; "" nothing."""

    level: str
    topic: str
    text: str
    remedy: str = ""


@frozen
class Line:
    """Holds what the configuration says of a server, as far as findings speak of it. `context` is that of its
    connections, `check` what its checks and pings ask for (None: nothing is configured), `connect_rate` the dials a
    second for its floor. `ends_each` is the option of its backend that ends each connection with its first answer, ""
    without one."""

    settings: model.Server
    context: ObservedContext | None
    check: model.HTTPCheck | None
    connect_rate: float
    ends_each: str = ""

    @property
    def tls(self) -> model.ServerTLS | None:
        return self.settings.tls

    @property
    def pool(self) -> model.PoolLimits:
        return self.settings.pool

    def fails_check(self, status: int) -> bool:
        """Tells whether a check fails with an answer of this status."""
        check = self.check
        if check is None or self.settings.check is None:
            return False
        return any(low <= status <= high for low, high in check.expect) == check.expect_not


def findings_of(observed: Observed, line: Line, now: float) -> list[Finding]:
    """Returns all findings, trouble first; `now` is the time of day (Unix time)."""
    found = list(_findings(observed, line, datetime.fromtimestamp(now, timezone.utc)))
    order = (TROUBLE, ADVICE, SKIPPED, FINE)
    return sorted(found, key=lambda each: order.index(each.level))


def _findings(observed: Observed, line: Line, now: datetime) -> Iterator[Finding]:
    if observed.skipped:
        yield Finding(SKIPPED, "skipped", observed.skipped)
        return
    if observed.unaddressed:
        by_name = "look what the name servers of that section answer, and whether they can be reached from here"
        asked = line.settings.resolution.resolvers is not None
        yield Finding(TROUBLE, "address", observed.unaddressed, by_name if asked else "")
        return
    if observed.refusal is not None:
        yield _refused(observed.refusal, line)
        return
    if observed.first is None:
        yield Finding(TROUBLE, "unfinished", "was not examined before the end")
        return
    yield _way(observed)
    if observed.handshake is not None:
        yield from _handshake(observed.handshake, line, now, ended=bool(observed.late))
    if observed.late:
        yield _late(observed, line)
        return
    if observed.second is not None and line.tls is not None and observed.handshake is not None:
        yield _resumption(observed, line)
    check = line.settings.check
    if check is not None and (check.addr is not None or check.port is not None):
        at = ":".join(str(each) for each in (check.addr, check.own_port) if each is not None)
        yield Finding(FINE, "check", f"its checks go elsewhere ({at}), which was not dialled")
    if observed.greeting:
        said = observed.greeting[:60].decode("latin-1").strip()
        said = "".join(each if each.isprintable() else "?" for each in said)
        yield Finding(FINE, "greeting", f"greets: {said!r}; connections of a floor keep that for their client")
    if line.ends_each:
        yield _ended_by_option(line)
    yield from _requests(observed, line)
    yield from _borne(observed, line)
    yield from _nodes(observed, line)
    yield from _idle(observed, line)
    if not observed.complete:
        yield Finding(ADVICE, "unfinished", "the examination was ended early")


# Connections that could not be opened.


def _refused(refusal: Refusal, line: Line) -> Finding:
    failure = refusal.failure
    text = str(failure)
    if failure.ours:
        return Finding(TROUBLE, "resources", text, "this process has no descriptor left: raise its limit (ulimit -n)")
    if failure.phase == TCP_CONNECT:
        if failure.timed_out:
            remedy = (
                "nobody answers at this address and port: look whether the server is up, and whether a firewall drops"
                " what comes from here; 'timeout connect' bounds the wait"
            )
        elif failure.reason.startswith(FROM_NOWHERE):
            remedy = "look whether this machine has the address, or interface, that 'source' names ('ip address')"
        else:
            remedy = "look whether the server listens at this address and port, and for all addresses or for another"
        return Finding(TROUBLE, "connect", text, remedy)
    if failure.timed_out:
        remedy = (
            "TCP stands and TLS does not come: the port may speak no TLS (leave 'ssl' out), or all of the server's"
            " workers are taken; 'timeout connect' bounds both together"
        )
        return Finding(TROUBLE, "handshake", text, remedy)
    return Finding(TROUBLE, "handshake", text, _remedy(refusal, line))


def _remedy(refusal: Refusal, line: Line) -> str:
    tls = line.tls
    assert tls is not None
    if refusal.fault is not None:
        return _remedy_of_fault(refusal.fault.error, refusal.fault.depth, tls)
    if refusal.unpinned:
        return (
            "if this is the server, and its key was changed, add that pin to 'pin-sha256' (several are one list, with"
            " commas); if it may be somebody else, find out who answers at this address"
        )
    if refusal.unvouched:
        return (
            "renew the server's certificate, if it is revoked; else look why the server staples no usable OCSP answer;"
            " 'ocsp-verify none' does without"
        )
    if refusal.misnamed:
        if tls.spiffe:
            return "write the ID that the certificate has, 'verifyspiffe ID', or have the server show its own SVID"
        wanted = "sni str(NAME)" if tls.sni is not None or line.settings.sni is None else "check-sni NAME"
        return (
            f"write a name that the certificate has, '{wanted}', or 'verifyhost NAME' without 'sni'; or have the"
            " server's certificate issued for this name"
        )
    reason = refusal.failure.reason
    if "refused our client certificate" in reason or (refusal.asked and "alert handshake failure" in reason):
        return _remedy_of_ours(line)
    if "does not speak TLS" in reason:
        return "leave 'ssl' out of the server line, or name the port that speaks TLS"
    if "protocol version" in reason or "unsupported protocol" in reason:
        return "say 'ssl-min-ver' or 'ssl-max-ver' as the server has it; better: have it speak TLSv1.2 or TLSv1.3"
    if "showed no certificate" in reason:
        return "give the server a certificate; 'verify none' would trust anybody"
    if "closed by peer" in reason or "reset" in reason:
        return "the server ends the handshake without a word: its log may say why (a name, 'sni str(NAME)', or a limit)"
    return "the server's log says what it did not like"


def _remedy_of_fault(error: int, depth: int, tls: model.ServerTLS) -> str:
    whose = "the server's certificate" if depth == 0 else "the CA's certificate, which the server sends"
    ca_file = f"ca-file {tls.ca_file}" if tls.ca_file else "ca-file FILE"
    if error == _EXPIRED:
        return f"renew {whose}, and reload the server; nothing in our file helps"
    if error == _NOT_YET:
        return f"{whose} is not valid yet: look at the clocks of both machines"
    if error in _UNKNOWN_ISSUER:
        return (
            f"its issuer, named above, is none that we trust: add that CA's certificate to '{ca_file}'; or, if it is an"
            " intermediate one, have the server send it with its certificate"
        )
    if error == _REVOKED:
        return f"{whose} is revoked by 'crl-file {tls.crl_file}': the server needs another one"
    if error in (_NO_CRL, _CRL_OVER):
        fetched = "; the daemon fetches it ('crl-url'), and its log says why it has not" if tls.crl_fetched else ""
        return f"'crl-file {tls.crl_file}' needs a list of each CA of the chain that is still in time{fetched}"
    if error == _PURPOSE:
        return "the certificate is not for servers (extended key usage): have one issued with serverAuth"
    return f"have {whose} issued anew, or say what to trust with '{ca_file}'"


def _remedy_of_ours(line: Line) -> str:
    tls, context = line.tls, line.context
    if tls is None or tls.crt is None:
        return "the server demands a client certificate: say 'crt FILE', with its key, of a CA that the server trusts"
    ours = f" ({context.words_of_ours})" if context is not None and context.ours is not None else ""
    return (
        f"the server does not take 'crt {tls.crt}'{ours}: have it trust the CA that issued this, or say one that it"
        " trusts; its log has the reason"
    )


def _late(observed: Observed, line: Line) -> Finding:
    reason, context = observed.late, line.context
    if context is not None and reason.startswith(TLS_FAILED):
        text = context.meaning(reason.removeprefix(TLS_FAILED))
        return Finding(TROUBLE, "client-certificate", f"ends each connection: {text}", _remedy_of_ours(line))
    remedy = "look into the server's log; a limit of connections, a rule by address or a missing PROXY header do that"
    return Finding(TROUBLE, "handshake", f"ends each new connection at once: {reason}", remedy)


# TLS.


def _way(observed: Observed) -> Finding:
    first = observed.first
    assert first is not None
    text = f"connected in {_ms(first.tcp)}"
    if first.tls:
        text += f", TLS handshake in {_ms(first.tls)} more"
    return Finding(FINE, "connect", text)


def _handshake(shown: Handshake, line: Line, now: datetime, *, ended: bool) -> Iterator[Finding]:
    group = f", group {shown.group}" if shown.group else ""
    alpn = f", alpn {shown.alpn}" if shown.alpn else ""
    yield Finding(FINE, "tls", f"{shown.version}, {shown.cipher}{group}{alpn}")
    tls, context = line.tls, line.context
    certificate = shown.certificate
    assert tls is not None and context is not None
    if certificate is not None:
        verified = f"verified for {context.name!r}" if tls.verify == "required" and context.name else "chain verified"
        if tls.spiffe:
            verified = f"verified as {several([*tls.spiffe], ' or ')}"
        if tls.verify != "required":
            verified = "verified by its key alone" if tls.pins else "not verified"
        yield Finding(FINE, "certificate", f"{certificate_words(certificate)}; {verified}")
        yield _pin(shown.chain, tls)
        if tls.verify == "required" and tls.ocsp != "none":
            yield _staple(shown)
        yield _life("server-expiry", "the server's certificate", certificate.not_valid_after_utc, now)
        for each in shown.chain[1:]:
            life = _life("server-expiry", f"the CA {name_of(each.subject)}", each.not_valid_after_utc, now)
            if life.level != FINE:
                yield life
    if tls.verify != "required" and not tls.pins:
        pin = f"; or pin its key: 'pin-sha256 {pin_of(certificate)}'" if certificate is not None else ""
        yield Finding(
            ADVICE,
            "unverified",
            "the server is not verified ('verify none'): whoever is in between may answer in its place",
            f"say 'verify required ca-file FILE', and 'sni str(NAME)' or 'verifyhost NAME'{pin}",
        )
    yield from _client_certificate(shown, line, ended=ended)
    if context.ours is not None:
        what, end = f"our certificate, crt {tls.crt},", context.ours.not_valid_after_utc
        yield _life("client-expiry", what, end, now, renewed=tls.crt == SPIFFE)


def _pin(chain: tuple[x509.Certificate, ...], tls: model.ServerTLS) -> Finding:
    """Returns the pin of the server's key, ready to be copied; and of what is pinned, which keys it has shown."""
    own = f"pin-sha256 {pin_of(chain[0])}"
    if not tls.pins:
        return Finding(FINE, "pin", f"the server's key can be pinned: {own}")
    shown = chain if tls.verify == "required" else chain[:1]
    matching = [name_of(each.subject) for each in shown if pin_of(each) in tls.pins]
    # A CA of ours need not be sent.
    matched = f"pinned is the key of {several(matching, ' / ')}" if matching else "pinned is a CA that it does not send"
    if len(tls.pins) == 1:
        remedy = "add the pin of the key that will follow, before the server has it: one list, with commas"
        return Finding(ADVICE, "pin", f"{matched}; the server's own is {own}; there is no other pin", remedy)
    return Finding(FINE, "pin", f"{matched}; the server's own is {own}")


def _staple(shown: Handshake) -> Finding:
    if shown.vouched_until is None:
        return Finding(FINE, "ocsp", "no OCSP answer is stapled, and none is demanded")
    until = datetime.fromtimestamp(shown.vouched_until, timezone.utc)
    return Finding(
        FINE, "ocsp", f"the stapled OCSP answer vouches for the certificate until {until:%d %b %Y %H:%M} UTC"
    )


def _life(topic: str, what: str, end: datetime, now: datetime, *, renewed: bool = False) -> Finding:
    """Judges the end of a certificate; one that is `renewed` comes from an agent, and lives for hours at most."""
    days = (end - now).total_seconds() / 86400
    date = f"{end:%d %b %Y %H:%M} UTC"
    if days < 0:
        return Finding(TROUBLE, topic, f"{what} has expired, on {date}", "renew it")
    left = f"in {int(days)} days" if days >= 2 else f"in {days * 24:.0f} hours"
    if renewed:
        return Finding(FINE, topic, f"{what} ends on {date}, and the agent renews it before")
    if days < SOON:
        return Finding(TROUBLE, topic, f"{what} ends {left}, on {date}", "renew it now")
    return Finding(FINE, topic, f"{what} ends {left}, on {date}")


def _client_certificate(shown: Handshake, line: Line, *, ended: bool) -> Iterator[Finding]:
    tls, context = line.tls, line.context
    assert tls is not None and context is not None
    topic = "client-certificate"
    if not shown.asked:
        if tls.crt is not None:
            yield Finding(
                ADVICE,
                topic,
                f"the server did not ask for a client certificate: 'crt {tls.crt}' is not shown to it",
                "have the server ask for one, if it should know who we are; or leave 'crt' out",
            )
        else:
            yield Finding(FINE, topic, "no client certificate was asked for")
        return
    named = several([each.name for each in shown.authorities], " / ")
    if tls.crt is None:
        if ended:
            return  # for want of it, most likely, which is told of the end
        of = f", of one of these CAs: {named}" if named else ""
        yield Finding(
            ADVICE,
            topic,
            f"the server asks for a client certificate{of}; none is configured, and it went on without",
            "say 'crt FILE', if requests need it",
        )
    elif not named:
        yield Finding(
            FINE, topic, f"a client certificate was asked for, of no CA in particular; shown is crt {tls.crt}"
        )
    elif context.names_issuer_of_ours(shown.authorities):
        yield Finding(
            FINE, topic, f"a client certificate was asked for; the CAs that were named include that of crt {tls.crt}"
        )
    else:
        yield Finding(
            TROUBLE,
            topic,
            f"the server asks for a client certificate of {named}, and 'crt {tls.crt}' is {context.words_of_ours}",
            "say a 'crt' that one of those CAs has issued (with its intermediates in the file), or have the server"
            " trust ours; it is shown all the same, but will hardly be accepted",
        )


def _resumption(observed: Observed, line: Line) -> Finding:
    first, second, tls = observed.first, observed.second, line.tls
    assert first is not None and second is not None and tls is not None
    if second.resumed:
        text = f"sessions resume: a full handshake took {_ms(first.tls)}, the resumed one {_ms(second.tls)}"
        return Finding(FINE, "resumption", text)
    if not tls.resumes:
        word = "no-ssl-reuse" if line.pool.spread is None else "pool-spread cert"
        return Finding(FINE, "resumption", f"sessions are not resumed, as the server line says ('{word}')")
    return Finding(
        ADVICE,
        "resumption",
        f"sessions do not resume: each connection costs both sides a full handshake ({_ms(second.tls)})",
        "let the server resume them (nginx: 'ssl_session_cache shared:TLS:10m' and 'ssl_session_tickets on')",
    )


# Requests.


def _ended_by_option(line: Line) -> Finding:
    """Judges an option that configurations of other proxies have had for years, which keeps the pool from its work."""
    opens = "a connection of its own" if line.tls is None else "a handshake of its own"
    return Finding(
        TROUBLE if line.pool.min_conn or line.pool.adapts else ADVICE,
        "option",
        f"the backend has '{line.ends_each}': each connection ends with its first answer, so every request needs"
        f" {opens}, which a floor only makes beforehand",
        "take that option out (it may stand in 'defaults'): what is kept is used again, as HAProxy does since 2.0",
    )


def _requests(observed: Observed, line: Line) -> Iterator[Finding]:
    usual = [each for each in observed.requests if each.role == USUAL]
    if not usual:
        return
    yield _answer(usual[0], line)
    if usual[0].status is None or usual[0].status == 400:
        return  # what such an answer does to its connection tells nothing
    if all(each.kept for each in usual):
        yield Finding(
            FINE, "keep-alive", f"keep-alive holds: {len(usual)} answers to {usual[0].what} on one connection"
        )
    else:
        why = next(each.reason for each in usual if not each.kept)
        yield Finding(
            TROUBLE if line.pool.min_conn or line.tls is not None else ADVICE,
            "keep-alive",
            f"the connection does not outlive the answer to {usual[0].what} ({why}): every request needs a new one",
            "turn keep-alive on in the server (nginx: 'keepalive_timeout', Apache: 'KeepAlive On'), or see what ends"
            " it; a floor ('pool-min-conn') still has one ready, and opens another after each request",
        )
    if observed.held_back:
        yield Finding(
            ADVICE,
            "held-back",
            f"on a connection that is used again, the body of an answer comes {_ms(observed.held_back)} after its head:"
            " the server sends them apart, and its kernel holds the body back until the head is acknowledged (Nagle's"
            " algorithm), which kernels delay",
            "have the server set TCP_NODELAY on its connections (nginx: 'tcp_nodelay on'), or write head and body at"
            " once, through a buffer",
        )
    for each in observed.requests:
        if each.role != USUAL:
            yield _other_method(each, line)
    timeout, most = observed.advertised
    if timeout is not None or most is not None:
        said = [f"timeout={timeout:g}"] if timeout is not None else []
        said += [f"max={most}"] if most is not None else []
        yield Finding(FINE, "advertised", f"the server announces Keep-Alive: {', '.join(said)}; the pool goes by that")


def _answer(asked: Asked, line: Line) -> Finding:
    if asked.status is None:
        return Finding(TROUBLE, "request", f"no answer to {asked.what}: {asked.reason}", "look into the server's log")
    text = f"{asked.what} was answered with {asked.status} in {_ms(asked.took)}"
    body = asked.body.lower()
    if asked.status == 400 and line.tls is None and b"https" in body:
        remedy = "say 'ssl verify required ca-file FILE sni str(NAME)' on the server line"
        return Finding(TROUBLE, "request", f"{text}, which speaks of HTTPS: the port wants TLS", remedy)
    if asked.status == 400 and line.tls is not None and b"certificate" in body:
        return Finding(TROUBLE, "client-certificate", f"{text}, which speaks of a certificate", _remedy_of_ours(line))
    if line.fails_check(asked.status):
        remedy = "have the server answer, or write a check for what it answers: 'option httpchk', 'http-check expect'"
        return Finding(
            TROUBLE, "request", f"{text}: that is no answer for its check, which takes it out of use", remedy
        )
    if asked.status >= 500:
        return Finding(TROUBLE, "request", text, "look into the server's log")
    return Finding(FINE, "request", text)


def _other_method(asked: Asked, line: Line) -> Finding:
    """Judges HEAD and `OPTIONS *`: a ping needs an answer that keeps the connection."""
    if asked.kept:
        return Finding(FINE, "ping", f"{asked.what} keeps the connection, too ({asked.status})")
    if asked.status is None:
        text = f"{asked.what} gets no answer: {asked.reason}"
    else:
        text = f"{asked.what} is answered with {asked.status} and ends the connection ({asked.reason})"
    if asked.role == OPTIONS and line.check is None and line.pool.idle_ping is not None:
        remedy = "'idle-ping' asks just that, and stops: say what the server takes, 'option httpchk GET /URI'"
        return Finding(ADVICE, "ping", text, remedy)
    return Finding(FINE, "ping", f"{text}: not for 'idle-ping' or checks")


# What it bears, and what idle connections cost.


def _borne(observed: Observed, line: Line) -> Iterator[Finding]:
    if not observed.wanted:
        return
    floor = line.pool.min_conn
    if observed.short or observed.stood < observed.wanted:
        fewer = f"say 'pool-min-conn {max(0, observed.stood - 1)}' or less, " if floor > observed.stood else ""
        yield Finding(
            TROUBLE if floor > observed.stood else ADVICE,
            "connections",
            f"{observed.stood} of {observed.wanted} connections stood at once: {observed.short or 'some were closed'}",
            f"{fewer}or raise what the server takes: workers, 'worker_connections', a limit by address",
        )
    elif observed.served is False:
        yield Finding(
            TROUBLE,
            "connections",
            f"{observed.stood} connections stood at once, and a request on the newest was not answered: a server with"
            " one worker for each connection (gunicorn's sync, Apache's prefork) has none left",
            "say a 'pool-min-conn' below its workers, or 0; or give it workers that serve many connections",
        )
    else:
        yield Finding(FINE, "connections", f"bears {observed.stood} connections at once")


def _nodes(observed: Observed, line: Line) -> Iterator[Finding]:
    """Says at how many nodes behind the address connections were."""
    spread = line.pool.spread
    certificates = len({*observed.serials})
    if spread is not None and spread.header:
        if not all(observed.named):
            yield Finding(
                TROUBLE,
                "nodes",
                f"'pool-spread hdr({spread.header})': an answer has no such header, so nodes are not told apart",
                "name a header that says which node has answered, or 'option httpchk' with a request that gets it",
            )
        elif observed.named:
            count = len({*observed.named})
            yield Finding(FINE, "nodes", f"answers came from {_count(count, 'node')} by header {spread.header}")
    elif certificates > 1 and spread is None:
        yield Finding(
            ADVICE,
            "nodes",
            f"{len(observed.serials)} connections were shown {certificates} different certificates: there are several"
            " nodes behind this address, and a floor may be at one of them",
            "'pool-spread cert' spreads it over all",
        )
    elif spread is not None and observed.serials:
        made = _count(len(observed.serials), "connection")
        yield Finding(FINE, "nodes", f"{made} came to {_count(certificates, 'node')} by certificate")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _idle(observed: Observed, line: Line) -> Iterator[Finding]:
    used, unused = observed.used, observed.unused
    if unused is not None:
        yield Finding(FINE, "idle-unused", f"an idle connection that has carried nothing {_until(unused)}")
    if used is not None:
        yield Finding(FINE, "idle-used", f"an idle connection that has carried requests {_until(used)}")
    limits = line.pool
    if used is not None and used.reason and limits.idle_timeout is not None and _said(used) < limits.idle_timeout:
        yield Finding(
            ADVICE,
            "idle-used",
            f"'pool-idle-timeout' {limits.idle_timeout:g}s is never reached: the server closes before",
            "raise the server's keep-alive time-out, or say less",
        )
    yield from _cost(observed, line)


def _cost(observed: Observed, line: Line) -> Iterator[Finding]:
    """Reckons what a floor costs: at the start, and for as long as nobody uses it."""
    floor, first, unused = line.pool.min_conn or SUPPOSED, observed.first, observed.unused
    assert first is not None
    fill = floor / line.connect_rate + first.tcp + first.tls
    text = f"a floor of {floor}{'' if line.pool.min_conn else ' (there is none)'} takes {floor} descriptors"
    text += f", and {_ms(fill)} to fill"
    what = "handshakes" if line.tls is not None else "connects"
    limit = _said(unused) if unused is not None and unused.reason else None
    rate = 0.0
    if line.pool.idle_ping is not None and observed.requests:
        text += f"; unused it costs {floor / line.pool.idle_ping:.2g} pings a second"
    elif limit is not None:
        rate = floor / max(limit - margin(limit), 0.1)
        text += f"; unused it costs {rate:.2g} {what} a second, since the server closes after {limit:.3g} s"
    elif unused is not None and unused.seconds >= 1.0:
        text += f"; unused it costs less than {floor / unused.seconds:.2g} {what} a second"
    if limit is not None and line.pool.min_conn and rate >= CHURN:
        more = "raise the server's time-out for a first request (nginx: 'client_header_timeout')"
        more += _ping_for(observed, line, limit)
        yield Finding(ADVICE, "floor", text, f"{more}, or say a smaller 'pool-min-conn'")
    elif line.pool.min_conn or line.pool.adapts:
        yield Finding(FINE, "floor", text)
    else:
        spared = f"'pool-min-conn auto' (or {SUPPOSED}) would spare a request that finds no connection"
        spared += f" {_ms(first.tcp + first.tls)}"
        # Not by that time, which is another one at each look: where there is TLS, it is work for both sides, too.
        if line.tls is not None:
            yield Finding(ADVICE, "floor", text, spared)
        else:
            yield Finding(FINE, "floor", f"{text}; {spared}")


def _said(stood: Stood) -> float:
    """Returns for how long a server keeps an idle connection, as its file will say it: what is measured is some
    milliseconds beside that, and to judge by these would be to judge otherwise each time."""
    return round(stood.seconds, 1)


def _ping_for(observed: Observed, line: Line, limit: float) -> str:
    """Returns what to write for pings that keep unused connections open; "" where none would."""
    kept = {each.role: each for each in observed.requests if each.kept}
    word = f"'idle-ping {max(100, int(limit * 500))}ms'"
    if (USUAL if line.check is not None else OPTIONS) in kept:
        return f", say {word}"
    if line.check is None and USUAL in kept:
        return f", say {word} with 'option httpchk {kept[USUAL].what}', which keeps connections"
    return ""


def _until(stood: Stood) -> str:
    if stood.reason:
        return f"is closed after {stood.seconds:.3g} s ({stood.reason})"
    return f"still stands after {stood.seconds:.3g} s (--idle waits longer)"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
