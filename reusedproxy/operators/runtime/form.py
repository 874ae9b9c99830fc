"""Does what the form of the statistics page orders (`stats admin`), in HAProxy's words.

The form names one backend, or says its number as the form of HAProxy's own page does, an action, and servers; the
answer is HAProxy's code for what became of it. Whether a client may order anything is decided before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from urllib.parse import parse_qsl

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP, Server
from reusedproxy.operators.logs.orders import Orderer
from reusedproxy.operators.runtime.checks import AGENT, HEALTH, C, Kind
from reusedproxy.operators.runtime.pools import drain, rewarm
from reusedproxy.operators.runtime.proxy import Running, called, end_sessions

# What became of a form.
DONE = "DONE"  # all of it
PART = "PART"  # some of the servers
NOTHING = "NONE"  # nothing had to change
WRONG = "ERRP"  # it names what does not exist

#: HAProxy's reason in its log.
_REASON = "changed from Web interface"


def obey(proxy: Running, page: str, form: bytes, scope: Collection[str], sender: str) -> str:
    """Does what a form says, of backends in this `scope` (all, if it is empty), and tells the log of it: `page` is the
    section that has the page, `sender` is who has sent the form. Returns the code. The last value of a field counts,
    and all servers do, as in HAProxy."""
    try:
        fields = parse_qsl(form.decode(), keep_blank_values=True, strict_parsing=False, max_num_fields=1000)
    except ValueError:
        return WRONG
    said = dict(fields)
    name, action = said.get("b"), said.get("action")
    left = bool(proxy.order_log.caveat)
    if left or any(frontend.stopped and not frontend.shut for frontend in proxy.frontends):
        return NOTHING  # a reload or another process has put others in the place of its servers
    backend = None if name is None else called(name, proxy.backends)
    if (name is not None and (backend is None or (scope and backend.name not in scope))) or (
        action is not None and action not in ACTIONS
    ):
        return WRONG
    names = [value for field, value in fields if field == "s"]
    if backend is None or action is None or not names:
        return NOTHING
    act = ACTIONS[action]
    servers = {server.name: server for server in backend.servers}
    # None: nothing had to be done.
    done = [act(proxy, backend, servers[each]) if each in servers else False for each in names]
    counted = [each for each in done if each is not None]
    if not counted:
        return NOTHING
    changed = [f"{backend.name}/{each}" for each, is_done in zip(names, done, strict=True) if is_done]
    if changed:
        orderer = Orderer(f"the statistics page of {page}", sender)
        proxy.order_log.tell(orderer, action, ", ".join(changed))
    return DONE if all(counted) else PART if any(counted) else WRONG


def _orders(state: str) -> Act:
    def order(proxy: Running, backend: Backend, server: Server) -> bool:
        backend.set_state(server, state)
        return True

    return order


def _changes(before: Collection[str], state: str) -> Act:
    """Makes one of the older words, which do nothing to a server that is not in one of the states `before`."""

    def order(proxy: Running, backend: Backend, server: Server) -> bool | None:
        if server.admin not in before:
            return None
        backend.set_state(server, state)
        return True

    return order


def _pauses(kind: Kind[C], paused: bool) -> Act:
    """Makes what stops the checks of a server, or its agent, or has them go on."""

    def pause(proxy: Running, backend: Backend, server: Server) -> bool | None:
        checker = kind.checker_of(backend, server)
        if checker is None:
            return None
        checker.pause(paused)
        return True

    return pause


def _health(health: str) -> Act:
    """Makes what sets what checks have found, until they find something else."""

    def find(proxy: Running, backend: Backend, server: Server) -> bool | None:
        if server.tracked is not None:
            return None
        checker = HEALTH.checker_of(backend, server)
        if checker is not None:
            checker.judge.begin_at(0 if health == DOWN else checker.judge.top)
        if server.health != health:
            backend.server_changed(server, health, _REASON)
        return True

    return find


def _agent_health(health: str) -> Act:
    def find(proxy: Running, backend: Backend, server: Server) -> bool | None:
        agent = AGENT.checker_of(backend, server)
        if agent is None or agent.paused:
            return None
        agent.judge.begin_at(0 if health == DOWN else agent.judge.top)
        server.agent_down = health == DOWN
        if server.health != health:
            backend.server_changed(server, health, _REASON)
        return True

    return find


def _shutdown(proxy: Running, backend: Backend, server: Server) -> bool:
    end_sessions(proxy, server.full_name)
    return True


def _drain_pool(proxy: Running, backend: Backend, server: Server) -> bool:
    drain(server)
    return True


def _rewarm_pool(proxy: Running, backend: Backend, server: Server) -> bool:
    rewarm(server)
    return True


Act = Callable[[Running, Backend, Server], "bool | None"]

#: Those that the page offers, of which two are ours; and HAProxy's older words.
ACTIONS: dict[str, Act] = {
    "ready": _orders(READY),
    "drain": _orders(DRAIN),
    "maint": _orders(MAINT),
    "dhlth": _pauses(HEALTH, True),
    "ehlth": _pauses(HEALTH, False),
    "hrunn": _health(UP),
    "hnolb": _health(NOLB),
    "hdown": _health(DOWN),
    "dagent": _pauses(AGENT, True),
    "eagent": _pauses(AGENT, False),
    "arunn": _agent_health(UP),
    "adown": _agent_health(DOWN),
    "shutdown": _shutdown,
    "dpool": _drain_pool,
    "rpool": _rewarm_pool,
    "disable": _changes((READY, DRAIN), MAINT),
    "enable": _changes((MAINT,), READY),
    "stop": _changes((READY,), DRAIN),
    "start": _changes((DRAIN,), READY),
}
