"""Defines the steps of a health check: what is sent to a server, and what is expected of its answers. Values only.

`HTTPCheck` is the short form, which most checks have: one request, and statuses that pass. A `CheckPlan` has any
number of steps, in the order in which they are done.
"""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.rules import Format
from reusedproxy.config.model.values import Expression


@frozen
class HTTPCheck:
    """Holds `option httpchk` with `http-check send` and `http-check expect status` of a backend.

    `headers` are (name, value) in the order written. `expect` are inclusive ranges of status codes;
    `expect_not` negates them.
    """

    method: str = "OPTIONS"
    uri: str = "/"
    version: str = "HTTP/1.0"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    expect: tuple[tuple[int, int], ...] = ((200, 399),)
    expect_not: bool = False


@frozen
class Observe:
    """Holds `observe layer4|layer7` of a server with `error-limit` and `on-error`."""

    layer: str
    limit: int = 10
    on_error: str = "fail-check"


@frozen
class Agent:
    """Holds `agent-check` of a server: `inter` in seconds, what is sent first, and where the agent is (`addr` None: at
    the server's address)."""

    port: int
    addr: str | None = None
    inter: float = 2.0
    send: str = ""


@frozen
class Connect:
    """Holds `http-check connect` or `tcp-check connect`: a new connection to the server.

    `default`: as a check without a sequence connects. Else only what is said counts: `ssl`, `sni`, `port` (None: that
    written with `addr`, `addr_port`; without that the checks'), `addr`, `send_proxy`. `linger` ends the connection in
    order and not by a reset. `number` is that of its line in the sequence, 0 where no line has been written for it; so
    with the other steps.
    """

    number: int = 0
    default: bool = True
    port: int | Expression | None = None
    addr: str | None = None
    addr_port: int | None = None
    ssl: bool = False
    sni: str | None = None
    send_proxy: bool = False
    linger: bool = False
    comment: str = ""


@frozen
class SendRequest:
    """Holds `http-check send`. Texts that depend on variables are in `uri`, `values` (of the headers, by position) and
    `body`; None: that of `request`."""

    number: int
    request: HTTPCheck
    uri: Format | None = None
    values: tuple[Format | None, ...] = ()
    body: Format | None = None
    comment: str = ""


@frozen
class SendBytes:
    """Holds `tcp-check send` and its like. `data` is a text that depends on variables in place of `constant`;
    `binary`: it is written in hexadecimal digits."""

    number: int
    constant: bytes = b""
    data: Format | None = None
    binary: bool = False
    comment: str = ""


@frozen
class Name:
    """Holds how the name or the value of a header is compared: `method` is str, beg, end, sub or reg."""

    method: str
    pattern: str
    made: Format | None = None


@frozen
class Expect:
    """Holds `http-check expect` or `tcp-check expect`.

    `what` is "status", "rstatus", "hdr", "fhdr", "string", "rstring", "binary", "rbinary", "string-lf" or
    "binary-lf"; `pattern` is its argument, `ranges` the statuses. `name` and `value` are of headers; a value None
    means that the header exists. `least` is `min-recv`. The three statuses are HAProxy's words ("L7OK"), "" for the
    usual ones.
    """

    number: int
    what: str
    pattern: str = ""
    ranges: tuple[tuple[int, int], ...] = ()
    made: Format | None = None
    name: Name | None = None
    value: Name | None = None
    negated: bool = False
    least: int = -1
    ok_status: str = ""
    error_status: str = ""
    tout_status: str = ""
    on_success: Format | None = None
    on_error: Format | None = None
    status_code: Expression | None = None
    comment: str = ""


@frozen
class SetVariable:
    """Holds `set-var(check.name[,condition…])`: to an expression or, with `set-var-fmt`, a format; `unset-var` has
    neither."""

    number: int
    name: str
    value: Expression | Format | None = None
    conditions: tuple[str, ...] = ()


@frozen
class Hello:
    """Holds a check of one of the protocols whose options are words of their own, such as `option redis-check`."""

    protocol: str
    arguments: tuple[str, ...] = ()


@frozen
class External:
    """Holds `option external-check`: the program, the PATH that it is given, and whether it gets our environment
    (`preserve-env`). `proxy` are address and port of the first `bind` line of the `section`, "" where there is none;
    `protocol` is "h1" or "tcp". `gains_rights`: a set-user-ID bit of a program counts (`insecure-setuid-wanted`)."""

    command: str
    path: str
    keeps_environment: bool
    section: str
    section_id: int
    proxy: tuple[str, str]
    protocol: str
    gains_rights: bool = False


Step = Connect | SendRequest | SendBytes | Expect | SetVariable


@frozen
class CheckPlan:
    """Holds a check that takes several steps. `protocol` is "http", "tcp", or that of `hello`, whose steps are known to
    whoever speaks the protocol; "external": it has none, and a program is run. `disable_on_404`: a server that is UP
    and answers 404 takes no new clients; `send_state`: an HTTP request tells the server's state as it is known here."""

    protocol: str
    steps: tuple[Step, ...] = ()
    hello: Hello | None = None
    external: External | None = None
    disable_on_404: bool = False
    send_state: bool = False

    @property
    def first_request(self) -> HTTPCheck | None:
        """Returns the request of the first HTTP step; None if there is none, or if it depends on variables."""
        for step in self.steps:
            if isinstance(step, SendRequest):
                constant = step.uri is None and step.body is None and not any(step.values)
                return step.request if constant else None
        return None
