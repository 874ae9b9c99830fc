"""Finds the lines that keep somebody out, or take something away, in branches of `.if` that are left out.

A branch that asks for a feature or a version is left out where another program would have read it, and with it the
rules in it: these are told. What a variable decides was decided by who set it. It must never know sections.
"""

from __future__ import annotations

from attrs import Factory, define

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.model.values import Place

#: How many lines are named.
NAMED = 5

#: Actions that keep nobody out, and change nothing that a server may believe.
_HARMLESS = words(
    """
    cache-use cache-store capture disable-l7-retry do-log early-hint inspect-delay sc-inc-gpc sc-inc-gpc0
    sc-inc-gpc1 set-bandwidth-limit set-bc-mark set-bc-tos set-fc-mark set-fc-tos set-log-level set-mark set-nice
    set-priority-class set-priority-offset set-retries set-timeout set-tos
    """
)
#: Of answers: those that keep them, or a part of them, from clients.
_OF_ANSWERS = words("close del-header del-headers deny reject silent-drop")
_REQUEST_RULES = frozenset(("http-request", "tcp-request"))
_ANSWER_RULES = frozenset(("http-response", "http-after-response", "tcp-response"))
_OTHERS = words(
    """
    acl block redirect use_backend use-server ssl-server-verify rate-limit
    ssl-default-bind-options ssl-default-bind-ciphers ssl-default-bind-ciphersuites ssl-default-bind-curves
    ssl-default-server-options ssl-default-server-ciphers ssl-default-server-ciphersuites
    ssl-security-level
    """
)
_STATS = frozenset(("auth", "http-request", "scope"))
_OPTIONS = frozenset(("http-restrict-req-hdr-names",))
_VERIFIES = frozenset(("verify", "ca-file", "crl-file", "verifyhost", "ssl-min-ver"))
#: Sections that are left out with all that they say: nobody is let in by them.
_OWN_SECTIONS = frozenset(("frontend", "listen", "backend", "userlist", "resolvers", "peers", "cache", "ring"))


@define
class LeftOut:
    """Gathers the lines of one branch: `first` is the place of the line that begins it, `last` that of its last line.
    `asked` is what decides that it is left out, each with its answer; `replaced`: a branch before it is read."""

    first: Place
    last: Place
    asked: dict[str, bool] = Factory(dict)
    replaced: bool = False
    rules: list[tuple[str, Place]] = Factory(list)
    _of_others: bool = True

    def add(self, text: str, place: Place) -> None:
        """Looks at a line that is left out."""
        self.last = place
        said = text.split()
        if not said or said[0][0] in "#.":
            return
        if said[0] in _OWN_SECTIONS:
            self._of_others = False
        elif said[0] in ("global", "defaults"):
            self._of_others = True
        elif self._of_others and (rule := restriction(said)):
            self.rules.append((rule, place))

    @property
    def told(self) -> str:
        """Returns in words which rules are left out, and why: the first of them, and how many more there are."""
        why = " and ".join(
            f"'{question}' is {'true' if answer else 'false'}" for question, answer in self.asked.items()
        )
        named = ", ".join(f"'{rule}' (line {place.line})" for rule, place in self.rules[:NAMED])
        more = f" and {len(self.rules) - NAMED} more" if len(self.rules) > NAMED else ""
        how = "" if self.replaced else ": to have them read, add '|| defined(REUSEDPROXY)' to the condition"
        first, last = self.first.line + 1, self.last.line
        lines = f"line {first} is" if first == last else f"lines {first} to {last} are"
        return f"{lines} left out, as {why} here: {named}{more}{how}"


def restriction(said: list[str]) -> str:
    """Returns what a line says that restricts somebody, in its first words, none of which is a secret; "" if it does
    not."""
    keyword, word = said[0], said[1].partition("(")[0] if len(said) > 1 else ""
    if keyword == "tcp-request" and word in ("connection", "session", "content") and len(said) > 2:
        action = said[2].partition("(")[0]
        return "" if action in _HARMLESS else f"{keyword} {word} {action}"
    if keyword == "tcp-response" and word == "content" and len(said) > 2:
        return f"{keyword} {word} {said[2]}" if said[2] in _OF_ANSWERS else ""
    if keyword in _REQUEST_RULES:
        return "" if not word or word in _HARMLESS else f"{keyword} {word}"
    if keyword in _ANSWER_RULES:
        return f"{keyword} {word}" if word in _OF_ANSWERS else ""
    if keyword == "stats":
        return f"{keyword} {word}" if word in _STATS else ""
    if keyword == "option":
        return f"{keyword} {word}" if word in _OPTIONS else ""
    if keyword == "default-server":
        return f"{keyword} … {found[0]}" if (found := [each for each in said if each in _VERIFIES]) else ""
    return (f"acl {word}" if keyword == "acl" else keyword) if keyword in _OTHERS else ""
