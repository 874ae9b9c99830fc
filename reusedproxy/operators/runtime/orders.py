"""Does what the runtime API is ordered: states, weights and limits of servers, limits of frontends, counters.

Every change is a method of the backend or the frontend; here are HAProxy's words around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address

from reusedproxy.backends.backend import HELD, Backend
from reusedproxy.backends.checks.agent import STATIC_WEIGHTS
from reusedproxy.backends.names import target_of
from reusedproxy.backends.orders import order_clear
from reusedproxy.backends.saved_states import may_follow_name
from reusedproxy.backends.server import DRAIN, MAINT, MOST_WEIGHT, READY, Server
from reusedproxy.config.language.addresses import is_host_name, is_service
from reusedproxy.net.names.messages import plain
from reusedproxy.operators.runtime import checks
from reusedproxy.operators.runtime.messages import NOTICE, WARNING, Message
from reusedproxy.operators.runtime.proxy import ADMIN, OPERATOR, Context, Refusal, end_sessions

_ORDERS = {"ready": READY, "drain": DRAIN, "maint": MAINT}
_USAGE = (
    "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr | check-port"
    " | fqdn | health | ssl | state | weight"
)
#: Who is said to have moved a server.
_BY = "stats socket command"
_MOST_PORT = 65535
_NO_PORT_MAP = (
    "can't change <port> to port map because it is incompatible with current health check port configuration"
    " (use 'port' statement from the 'server' directive."
)


def set_server(context: Context, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> <what> …`, with one of `_SETTINGS`."""
    backend, server = context.server(words[0] if words else "")
    setting = _SETTINGS.get(words[1] if len(words) > 1 else "")
    if setting is None:
        raise Refusal(_USAGE)
    return setting(backend, server, words[2:])


def _set_state(backend: Backend, server: Server, words: Sequence[str]) -> str:
    order = _ORDERS.get(words[0] if words else "")
    if order is None:
        raise Refusal("'set server <srv> state' expects 'ready', 'drain' and 'maint'.")
    backend.set_state(server, order)
    return ""


def _set_address(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Has a server go to another address, and says what changes in HAProxy's words."""
    if not words:
        raise Refusal("set server <b>/<s> addr requires an address and optionally a port.")
    settings = server.settings
    asked = settings.resolution.resolvers is not None
    if server.relocation is None or (asked and (is_host_name(server.own_name) or not may_follow_name(settings))):
        raise Refusal(
            "The address of this server is told by name servers or by its clients, or is no address and port."
        )
    target = server.ordered or server.target
    assert target is not None
    before, port = str(target.address[0]), int(target.address[1])
    try:
        address = ip_address(words[0])
    except ValueError:
        raise Refusal(f"Invalid addr '{words[0]}' by '{_BY}'", severity=WARNING) from None
    same = ip_address(before.partition("%")[0]) == address
    said = ["no need to change the addr" if same else f"IP changed from '{before}' to '{address}'"]
    if words[1:2] == ["port"]:
        text = words[2] if len(words) > 2 else ""
        if text[:1] in ("+", "-"):
            said.append(_NO_PORT_MAP)
        elif not re.match(r"[0-9]{1,5}\Z", text) or not 1 <= int(text) <= _MOST_PORT:
            said.append(f"problem converting port '{text}' to an int")
        elif int(text) == port:
            said.append("no need to change the port")
        else:
            said.append(f"port changed from '{port}' to '{text}'")
            port = int(text)
    backend.order_address(server, target_of(str(address), port), _BY)
    return Message(f"{', '.join(said)} by '{_BY}'\n", WARNING)


def _set_name(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Has a server follow another name, and says so in HAProxy's words."""
    name = words[0] if words else ""
    if not name:
        raise Refusal("set server <b>/<s> fqdn requires a FQDN.")
    if is_service(server.settings.host) and server.settings.resolution.resolvers is not None:
        raise Refusal("set server <b>/<s> fqdn failed because SRV resolution is configured.")
    if not may_follow_name(server.settings):
        raise Refusal("set server <b>/<s> fqdn failed because no resolution is configured.")
    before = server.own_name
    if plain(name) == plain(before):
        return Message(f"no need to change the FDQN by '{_BY}'\n", WARNING)  # so HAProxy spells it
    own = plain(name) == plain(server.settings.host) and "%" not in name
    if not own and (not is_host_name(name) or is_service(name)):
        return Message(f"invalid fqdn '{name}' by '{_BY}'\n", WARNING)
    backend.order_name(server, name, _BY)
    before = before if is_host_name(before) else "(null)"  # as HAProxy's C library writes it
    return Message(f"{server.full_name} changed its FQDN from {before} to {name} by '{_BY}'\n", WARNING)


def _set_ssl(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Has new connections to a server be with TLS or without."""
    if server.settings.added:
        raise Refusal("'set server <srv> ssl' not supported on dynamic servers")
    if server.links is None or not server.links.may_encrypt:
        raise Refusal("'set server <srv> ssl' cannot be set.  default-server should define ssl settings")
    if words[:1] not in (["on"], ["off"]):
        raise Refusal("'set server <srv> ssl' expects 'on' or 'off'.")
    if backend.names_are == HELD:
        raise Refusal("A reload is under way: try again when it has ended.")
    order_clear(backend, server, words[0] == "off")
    return Message("server ssl setting updated.\n", NOTICE)


def enable_server(context: Context, words: Sequence[str]) -> str:
    backend, server = context.server(words[0] if words else "")
    backend.set_state(server, READY)
    return ""


def disable_server(context: Context, words: Sequence[str]) -> str:
    backend, server = context.server(words[0] if words else "")
    backend.set_state(server, MAINT)
    return ""


def enable_dynamic_cookie(context: Context, words: Sequence[str]) -> str:
    backend = _backend(context, words)
    backend.make_cookies(True, backend.cookie_key)
    return ""


def disable_dynamic_cookie(context: Context, words: Sequence[str]) -> str:
    backend = _backend(context, words)
    backend.make_cookies(False, backend.cookie_key)
    return ""


def set_dynamic_cookie_key(context: Context, words: Sequence[str]) -> str:
    """Does `set dynamic-cookie-key backend <backend> <key>`."""
    backend = _backend(context, words)
    if len(words) < 2:
        raise Refusal("String value expected.")
    backend.make_cookies(backend.makes_cookies, words[1])
    return ""


def _backend(context: Context, words: Sequence[str]) -> Backend:
    if not words:
        raise Refusal("A backend name is expected.")
    return context.backend(words[0])


def get_weight(context: Context, words: Sequence[str]) -> str:
    _, server = context.server(words[0] if words else "")
    return f"{server.weight} (initial {server.settings.weight})\n"


def set_weight(context: Context, words: Sequence[str]) -> str:
    return _set_weight(*context.server(words[0] if words else ""), words[1:])


def _set_weight(backend: Backend, server: Server, words: Sequence[str]) -> str:
    value = words[0] if words else ""
    if not value:
        raise Refusal("Require <weight> or <weight%>.")
    found = re.match(r"([+-]?[0-9]{1,9})(%?)", value)
    if found is None:
        raise Refusal("Empty weight string empty or preceded by garbage", "")
    if found.end() != len(value):
        raise Refusal("Trailing garbage in weight string", "")
    weight = int(found[1])
    if found[2]:
        if weight < 0:
            raise Refusal("Relative weight must be positive.")
        weight = min(MOST_WEIGHT, server.settings.weight * weight // 100)
    elif not 0 <= weight <= MOST_WEIGHT:
        raise Refusal("Absolute weight can only be between 0 and 256 inclusive.")
    if not backend.takes_weight(server, weight):
        raise Refusal(STATIC_WEIGHTS)
    backend.set_weight(server, weight)
    return ""


#: What `set server` sets, by HAProxy's words.
_SETTINGS: Mapping[str, Callable[[Backend, Server, Sequence[str]], str]] = {
    "addr": _set_address,
    "agent": checks.set_agent,
    "agent-addr": checks.set_agent_addr,
    "agent-port": checks.set_agent_port,
    "agent-send": checks.set_agent_send,
    "check-addr": checks.set_check_addr,
    "check-port": checks.set_check_port,
    "fqdn": _set_name,
    "health": checks.set_health,
    "ssl": _set_ssl,
    "state": _set_state,
    "weight": _set_weight,
}


def set_maxconn_server(context: Context, words: Sequence[str]) -> str:
    backend, server = context.server(words[0] if words else "")
    if len(words) < 2:
        raise Refusal("Require <maxconn>.")
    most = _number(words[1], "maxconn string")
    if server.settings.pool.most is not None:
        # The bound of its pool is made with the pool.
        raise Refusal("This server has 'strict-maxconn': its maxconn can be changed by a reload only.")
    backend.set_maxconn(server, most)
    return ""


def set_maxconn_global(context: Context, words: Sequence[str]) -> str:
    """Does `set maxconn global <value>`; 0 stands for what the file says, beyond which it does not go."""
    if not words:
        raise Refusal("Expects an integer value.")
    found = re.match(r"[+-]?[0-9]{1,9}", words[0])
    most = 0 if found is None else int(found[0])
    places = context.proxy.places
    if not 0 <= most <= places.maxconn_said:
        raise Refusal("Value out of range.")
    places.set_maxconn(most)
    return ""


def shutdown_session(context: Context, words: Sequence[str]) -> str:
    """Does `shutdown session <id>`, with a number that `show sess` has given."""
    try:
        number = int(words[0], 16) if words else 0
    except ValueError:
        number = 0
    if not number:
        raise Refusal("Session pointer expected (use 'show sess').")
    for proxy in (*context.proxy.before, context.proxy):
        for frontend in proxy.frontends:
            for connection in frontend.connections:
                if id(connection) == number:
                    frontend.end_session(connection, "K")
                    return ""
    raise Refusal("No such session (use 'show sess').")


def shutdown_sessions(context: Context, words: Sequence[str]) -> str:
    """Does `shutdown sessions server <backend>/<server>`."""
    _, server = context.server(words[0] if words else "")
    end_sessions(context.proxy, server.full_name)
    return ""


def _number(value: str, what: str) -> int:
    found = re.match(r"[0-9]{1,9}", value)
    if found is None:
        raise Refusal(f"{what} empty or preceded by garbage", "")
    if found.end() != len(value):
        raise Refusal(f"Trailing garbage in {what}", "")
    return int(value)


def clear_counters(context: Context, words: Sequence[str]) -> str:
    """Does `clear counters`, for which the highest values begin anew, or `clear counters all`, for which all do."""
    everything = words[:1] == ["all"]
    context.needs(ADMIN if everything else OPERATOR)
    proxy = context.proxy
    for frontend in proxy.frontends:
        frontend.clear_counters(everything)
    for backend in proxy.backends:
        backend.clear_counters(everything)
    if proxy.rates is not None:
        proxy.rates.clear()
    proxy.poller.begin_count()
    context.statistics.forget()
    return ""
