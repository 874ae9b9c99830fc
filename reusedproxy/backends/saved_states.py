"""Reads states of servers as `show servers state` has written them, here or in HAProxy, and gives them to servers.

The format is the first version of HAProxy's (its management guide, "show servers state"). What is applied, and what the
file's own words prevail over, is as in HAProxy (src/server_state.c). Must never know files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from attrs import evolve, frozen

from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP, Server
from reusedproxy.config import model
from reusedproxy.config.language.addresses import CLIENTS_HOSTS, is_host_name, is_service
from reusedproxy.net.names.messages import Service, plain

#: The numbers of operational states, and the bits of the administrative state and of the state of checks.
STOPPED, STARTING, RUNNING, STOPPING = range(4)
FORCED_MAINT, INHERITED_MAINT, CONFIGURED_MAINT, FORCED_DRAIN, INHERITED_DRAIN, NO_ADDRESS, OTHER_NAME = (
    1 << bit for bit in range(7)
)
CONFIGURED, ENABLED, PAUSED, AGENT = 2, 4, 8, 16
#: The numbers of what a check has found; 1 is that there was none yet.
CHECK_STATUS = {
    "INI": 1, "SOCKERR": 5, "L4OK": 6, "L4TOUT": 7, "L4CON": 8, "L6OK": 9, "L6TOUT": 10, "L6RSP": 11, "L7TOUT": 12,
    "L7RSP": 13, "L7OK": 15, "L7OKC": 16, "L7STS": 17, "PROCERR": 18, "PROCTOUT": 19, "PROCOK": 20,
}  # fmt: skip
#: The columns, as the second line of the file names them.
COLUMNS = (
    "be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight"
    " srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state"
    " bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr"
    " srv_agent_addr srv_agent_port"
)
VERSION = "1"
#: A line has so many columns; the others are HAProxy's since 2.4.
_LEAST, _MOST = 20, 25
_MOST_PORT = 65535
#: In maintenance, for whatever reason, a server is STOPPED without having been found DOWN.
_MAINTAINED = FORCED_MAINT | INHERITED_MAINT | CONFIGURED_MAINT | NO_ADDRESS
_WORDS = {number: word for word, number in CHECK_STATUS.items()}
#: What each number may be: the place of its column, and its bounds. The weights' is HAProxy's.
_BOUNDS = {
    "srv_op_state": (5, 0, 3),
    "srv_admin_state": (6, 0, 127),
    "srv_uweight": (7, 0, 256),
    "srv_iweight": (8, 0, 256),
    "srv_time_since_last_change": (9, 0, 1 << 40),
    "srv_check_status": (10, 0, 22),
    "srv_check_result": (11, 0, 4),
    "srv_check_health": (12, 0, 1 << 20),
    "srv_check_state": (13, 0, 31),
    "srv_agent_state": (14, 0, 31),
    "bk_f_forced_id": (15, 0, 1),
    "srv_f_forced_id": (16, 0, 1),
    "srv_port": (18, 0, 65535),
}
_MAY_ORDER = (0, FORCED_MAINT, CONFIGURED_MAINT, CONFIGURED_MAINT | FORCED_MAINT, CONFIGURED_MAINT | FORCED_DRAIN, 8)


class Unreadable(Exception):
    """Says why a file of states cannot be used."""


class Unusable(Exception):
    """Says which value of a server's line cannot be used."""


@frozen
class SavedState:
    """Holds what a line says of a server. `since` is in seconds. `address`, `name` and `record`, the name of its SRV
    records, are "" where there is none."""

    address: str
    operational: int
    administrative: int
    weight: int
    initial_weight: int
    since: int
    check: str
    health: int
    check_state: int
    agent_state: int
    name: str
    port: int
    #: Where checks and agent were, "" and 0 where that is not said.
    check_port: int = 0
    check_addr: str = ""
    agent_addr: str = ""
    agent_port: int = 0
    record: str = ""


def rows(text: str) -> Iterator[Sequence[str]]:
    """Returns the words of each server's line. Raises Unreadable."""
    first, *lines = text.split("\n") if text else ("",)
    if not text:
        raise Unreadable("it is empty")
    if first.strip() != VERSION:
        raise Unreadable(f"its first line, the version of the format, is not '{VERSION}'")
    if lines and lines[-1]:
        raise Unreadable(f"line {len(lines) + 1} has no end")
    for number, line in enumerate(lines, 2):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not _LEAST <= len(words) <= _MOST:
            raise Unreadable(f"line {number} has {len(words)} columns, and not {_LEAST} to {_MOST}")
        yield words


def saved_state(words: Sequence[str]) -> SavedState:
    """Reads the line of one server. Raises Unusable."""
    numbers = {}
    wrong = []
    for name, (at, least, most) in _BOUNDS.items():
        value = words[at]
        numbers[name] = int(value) if value.isascii() and value.isdigit() and len(value) < 16 else -1
        if not least <= numbers[name] <= most:
            wrong.append(f"invalid {name} value '{value}'")
    # What was inherited is found out anew.
    order = numbers["srv_admin_state"] & ~(INHERITED_MAINT | INHERITED_DRAIN | NO_ADDRESS | OTHER_NAME)
    if order not in _MAY_ORDER and not wrong:
        wrong.append(f"invalid srv_admin_state value '{words[6]}'")
    if wrong:
        raise Unusable(", ".join(wrong))
    return SavedState(
        "" if words[4] == "-" else words[4],
        numbers["srv_op_state"],
        numbers["srv_admin_state"],
        numbers["srv_uweight"],
        numbers["srv_iweight"],
        numbers["srv_time_since_last_change"],
        _WORDS.get(numbers["srv_check_status"], "INI"),
        numbers["srv_check_health"],
        numbers["srv_check_state"],
        numbers["srv_agent_state"],
        "" if words[17].startswith("-") else words[17],
        numbers["srv_port"],
        *_elsewhere(words),
        words[19] if is_service(words[19]) else "",
    )


def _elsewhere(words: Sequence[str]) -> tuple[int, str, str, int]:
    """Returns the places of checks and agent, as far as the line has them. An address that is none is that of a name,
    which the file has, too."""
    check_port, check_addr, agent_addr, agent_port = [*words[21:25], "", "", "", ""][:4]
    return _port(check_port), _ip(check_addr), _ip(agent_addr), _port(agent_port)


def _port(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 and int(text) <= _MOST_PORT else 0


def _ip(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def ordered_name(settings: model.Server, saved: SavedState) -> str:
    """Returns the name that an operator has ordered in place of that of the file (`set server … fqdn`), "" if none is
    in force. As in HAProxy, name servers have to be asked for the server."""
    name = saved.name if saved.administrative & OTHER_NAME else ""
    other = is_host_name(name) and plain(name) != plain(settings.host)
    return name if other and may_follow_name(settings) else ""


def saved_service(settings: model.Server, saved: SavedState | None) -> Service | None:
    """Returns the service that a server of SRV records had; None: there is none of these records with a port."""
    if saved is None or not (saved.name and saved.port) or plain(saved.record) != plain(settings.host):
        return None
    return Service(plain(saved.name), saved.port)


def may_follow_name(settings: model.Server) -> bool:
    """Tells whether an operator may have a server follow a name: it has `resolvers` to be asked, and an address, or a
    name of one, of its own."""
    own = settings.kind == "tcp" and settings.host not in CLIENTS_HOSTS and settings.mapped is None
    return own and settings.resolution.resolvers is not None and not is_service(settings.host)


def restore(server: Server, saved: SavedState, checker: Checker | None, now: float) -> None:
    """Puts a server into the state that was saved, before it serves. One that nobody checks is UP, as nobody could find
    it so later, unless nobody had checked it then either: that was ordered."""
    settings = server.settings
    _restore_places(server, saved)
    server.ordered_name = ordered_name(settings, saved)
    health = UP
    if checker is not None:
        judge = checker.judge
        health, judge.health = _health(saved, judge.rise, judge.fall)
        checker.last = Result(saved.check)
        checker.paused = saved.check_state & (CONFIGURED | ENABLED) == CONFIGURED
    elif not (saved.check_state | saved.agent_state) & CONFIGURED and not saved.administrative & _MAINTAINED:
        health = {STOPPED: DOWN, STOPPING: NOLB}.get(saved.operational, UP)
    order = MAINT if settings.disabled else READY
    if bool(saved.administrative & CONFIGURED_MAINT) == settings.disabled:
        order = MAINT if saved.administrative & FORCED_MAINT else READY
    # Without a weight it is in DRAIN anyway, and was not ordered to be: a weight in the file ends that.
    if order == READY and saved.administrative & FORCED_DRAIN and saved.initial_weight:
        order = DRAIN
    weight = saved.weight if saved.initial_weight == settings.weight else settings.weight
    server.restore(order, health, weight, now - saved.since, slowly=saved.operational == STARTING)


def _restore_places(server: Server, saved: SavedState) -> None:
    """Has checks and agent go where they went, whatever the file says, as in HAProxy."""
    check, agent = server.check, server.agent
    if check is not None:
        addr = saved.check_addr or check.addr
        # The same address in another spelling, or that of the name, is no other one.
        same = _ip(check.addr or "") in ("", _ip(addr or ""))
        addr_port = check.addr_port if same else None
        server.check = evolve(check, addr=addr, port=saved.check_port or check.port, addr_port=addr_port)
    if agent is not None:
        server.agent = evolve(agent, addr=saved.agent_addr or agent.addr, port=saved.agent_port or agent.port)
    if server.links is not None and server.check != check:
        server.links.aim_checks()
    if server.links is not None and server.agent != agent:
        server.links.aim_agent()


def _health(saved: SavedState, rise: int, fall: int) -> tuple[str, int]:
    """Returns what the checks had found, and how far they are from finding something else (`checks.judge`)."""
    top = rise + fall - 1
    if saved.operational == STOPPED or (saved.operational == STOPPING and fall == 1):
        return DOWN, 0
    if saved.operational == STOPPING:
        return NOLB, saved.health if rise <= saved.health < top else rise
    # HAProxy has one that starts slowly one check below `rise`, and serves it requests.
    return UP, rise if saved.operational == STARTING and rise > 1 else top
