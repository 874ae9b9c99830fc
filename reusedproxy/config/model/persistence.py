"""Defines what a backend says about persistence: the cookie that ties a client to a server, and the rules that force or
ignore it. Values only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from reusedproxy.config.model.rules import Action

if TYPE_CHECKING:
    from reusedproxy.config.model.values import Expression

#: What is done with the persistence cookie; "" leaves it to the servers ("passive").
INSERT, REWRITE, PREFIX, PASSIVE = "insert", "rewrite", "prefix", ""

#: What a `stick` line does with a key: it looks the server up, or stores it when a server has answered.
ON, MATCH, STORE_REQUEST, STORE_RESPONSE = "on", "match", "store-request", "store-response"

#: The letters in the log where there is no persistence cookie, and where none was looked for.
NO_COOKIES, UNSEEN = "--", "NN"


@frozen
class Cookie:
    """Holds the `cookie` line of a section; `mode` is one of the words above.

    `maxidle` and `maxlife` are in whole seconds, 0: no limit. `attributes` are further attributes of the inserted
    cookie, as written. `dynamic`: servers without a cookie of their own get one made of their address and
    `dynamic-cookie-key`.
    """

    name: str
    mode: str = PASSIVE
    indirect: bool = False
    nocache: bool = False
    postonly: bool = False
    preserve: bool = False
    httponly: bool = False
    secure: bool = False
    domains: tuple[str, ...] = ()
    maxidle: int = 0
    maxlife: int = 0
    attributes: tuple[str, ...] = ()
    dynamic: bool = False

    @property
    def for_insert(self) -> str:
        """Returns the first of its words that is about inserted cookies only, "" without any."""
        words = ("nocache", "postonly", "httponly", "secure", "maxidle", "maxlife")
        said = [word for word in words if getattr(self, word)]
        return next(iter([*said, *["domain"] * bool(self.domains), *["attr"] * bool(self.attributes)]), "")

    @property
    def logged(self) -> bool:
        """Tells whether the log says what becomes of the cookie. As in HAProxy it says nothing of a passive one without
        `indirect`."""
        return self.mode != PASSIVE or self.indirect


@frozen
class Persist(Action):
    """Holds `force-persist` or `ignore-persist`; `verb` is "force" or "ignore"."""

    verb: str


@frozen
class Stick(Action):
    """Holds a `stick` line; `kind` is one of the four words above. ON is both MATCH and STORE_REQUEST."""

    kind: str
    key: Expression
    table: str = ""
