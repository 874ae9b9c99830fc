"""Finds what may be a secret in a line of the configuration, so that no message quotes it: what is wrong with a file
goes to the log and to whoever may read the status of a reload.

A line is looked at by the words in it, however wrongly it is written. Where it may hold a secret, every part of it is
taken for one that is neither a word of HAProxy's nor stands where a name does. Messages about this line quote none of
these; those about another line, a rule that names an `acl`, quote none that no line without a secret has. It must never
know sections' readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from attrs import Factory, define

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.haproxy_samples import CONVERTERS, FETCHES

#: What stands in the place of a secret.
HIDDEN = "…"
#: Parts of fewer characters are hidden between quotes only: in a sentence they may be a part of any word.
_LONG = 6

#: Words beside which anything may be a secret, wherever they stand.
_BESIDE = words(
    "setenv presetenv cluster-secret dynamic-cookie-key insecure-password password auth agent-send redis-check"
)
#: In which lines the value of a header, or a key, may stand: with what makes it one.
_RULES = words(
    """
    http-request http-response http-after-response http-check tcp-request tcp-response tcp-check acl option redirect
    set-var set-var-fmt use_backend use-server stick
    """
)
#: Converters that take a key, wherever they stand: in `balance hash`, say.
_KEYED = re.compile(r"\b(?:hmac|jwt_[a-z_]+|aes_[a-z_]+)\(")
_MARK = re.compile(
    r"uthori[sz]|\bbasic\b|\bbearer\b|\b(?:set-)?cookie\b|\bcook\b|token|api-?key|credential|secret|passw|\bhmac\b|\bjwt_|\baes_|realm",
    re.IGNORECASE,
)
#: Words of `stats` behind which a colon is none of a name and a password.
_OF_STATS = words("admin bind-process http-request refresh scope show-desc show-node socket timeout uri")
#: Names of variables whose values are secrets.
_VARIABLE = re.compile(r"passw|secret|token|credential|api_?key|private", re.IGNORECASE)

#: Fetches whose argument is the name of a section, and words behind which a name stands, or what clients are shown.
_OF_SECTIONS = re.compile(
    r"\b(?:http_auth|http_auth_group|nbsrv|srv_is_up|be_conn|fe_conn|queue|(?:table|sc[0-9]?|src)_\w+)\(([^()]*)\)?"
)
_BEFORE_NAMES = words("use_backend use-server table realm acl")
#: Words behind which an action stands, or the stage of one; and those behind which a fetch does.
_BEFORE_ACTIONS = words("http-request http-response http-after-response tcp-request tcp-response http-check tcp-check")
_STAGES = words("connection session content")
_BEFORE_FETCHES = ("{", "!{")
#: What may be the name of a method behind `-m`, and of a fetch in the place of one. A longer word, or one of one piece,
#: may be a pattern that got there.
_METHOD = re.compile(r"[a-z]{2,5}\Z")
_FETCH = re.compile(r"[a-z][a-z0-9]*(?:[._][a-z0-9]+)+\Z")
#: Fetches whose first argument is a name: of a header, a cookie, a parameter, a variable.
_OF_NAMES = re.compile(
    r"\b(?:[a-z.]*f?hdr(?:_[a-z]+)?|[a-z.]*cook(?:_[a-z]+)?|var|set-var|urlp?|url_param)\(([^(),]*)[,)]"
)
#: What no name of an ACL has.
_NO_NAME = re.compile(r"[^A-Za-z0-9_.:-]")
#: The name of a fetch or a converter, before its arguments.
_CALLED = re.compile(r"([a-z][a-z0-9_.]*)\(")

_PARTS = re.compile(r"[^\s:=,(){}\"'\\$]+")
#: A word of prose, with what may stand behind it.
_OF_LANGUAGE = re.compile(r"[A-Za-z]?[a-z-]+[.;?!]?")
_VOCABULARY = frozenset(
    part.lower()
    for known in (
        *(haproxy_words.SECTIONS, haproxy_words.SECTIONS_NOT_DONE, haproxy_words.GLOBAL, haproxy_words.PROXY),
        *(haproxy_words.OPTIONS, haproxy_words.STATS, haproxy_words.STATS_GLOBAL, haproxy_words.BIND),
        *(haproxy_words.HTTP_CHECK, haproxy_words.HTTP_CHECK_SEND, haproxy_words.TCP_CHECK),
        *(haproxy_words.HTTP_CHECK_EXPECT, haproxy_words.TCP_CHECK_EXPECT, haproxy_words.SERVER),
        *(FETCHES, CONVERTERS, haproxy_words.BALANCE),
    )
    for word in known
    for part in _PARTS.findall(word)
) | words(
    """
    if unless set-header add-header replace-header del-header return deny auth set-var set-var-fmt status hdr realm
    str req.hdr res.hdr req.cook user group users groups password insecure-password lf-string string none basic bearer
    send expect meth uri ver body get post http req res txn sess proc hmac jwt_verify found beg end reg sub len int bool
    connection session content accept reject allow tarpit redirect capture silent-drop track-sc0 track-sc1 track-sc2
    md5 sha224 sha256 sha384 sha512
    code deny_status location prefix scheme drop-query append-slash ignore-empty set-cookie clear-cookie
    wait-for-body wait-for-handshake time at-least len id content-type file lf-file errorfile errorfiles
    default-errorfiles key limit period default-limit default-period min-size do-resolve set-status set-uri set-path
    set-method set-query replace-value replace-uri replace-path set-map del-map add-acl del-acl set-log-level or
    """
)


def is_secret(name: str) -> bool:
    """Tells whether the value of the variable of this name is a secret."""
    return _VARIABLE.search(name) is not None


@define
class Secrets:
    """Gathers what may be a secret in the lines of a configuration, as they are read."""

    #: What messages about a line must not quote.
    _own: dict[Place, tuple[str, ...]] = Factory(dict)
    #: The parts of all secrets, and those of everything else, in small letters.
    _parts: set[str] = Factory(set)
    _open: set[str] = Factory(set)

    def look(self, place: Place, said: Sequence[str], in_userlist: bool) -> None:
        """Looks at a line, given its words."""
        self.hide(place, secrets_of(said, in_userlist))
        secret = {each.lower() for each in _parts_of(self._own.get(place, ()))}
        self._open.update(part for part in map(str.lower, _parts_of(said)) if part not in secret)

    def hide(self, place: Place, secrets: Sequence[str]) -> None:
        """Has no message quote these, and none about this place even if another line has them."""
        if secrets:
            self._own[place] = in_order((*secrets, *self._own.get(place, ())))
            self._parts.update(map(str.lower, _parts_of(secrets)))

    def without_own(self, place: Place, text: str) -> str:
        """Returns the text of a message about this place without the secrets there."""
        own = self._own.get(place)
        return text if own is None else without(text, own)

    def without_any(self, text: str) -> str:
        """Returns the text of a message without the secrets of any line, once all have been looked at.

        Between quotes each part is looked at. Outside of them, where one gets if a quote is part of what is quoted,
        words of a language stay as they are.
        """
        if not self._parts:
            return text
        pieces = text.split("'")
        return "'".join(_PARTS.sub(self._quoted if at % 2 else self._outside, each) for at, each in enumerate(pieces))

    def _quoted(self, part: re.Match[str]) -> str:
        lower = part[0].lower()
        return HIDDEN if len(lower) > 2 and lower in self._parts and lower not in self._open else part[0]

    def _outside(self, part: re.Match[str]) -> str:
        return part[0] if len(part[0]) < _LONG or _OF_LANGUAGE.fullmatch(part[0]) else self._quoted(part)


def secrets_of(said: Sequence[str], in_userlist: bool) -> tuple[str, ...]:
    """Returns the parts of a line, given its words, that may be secrets, and that messages must not quote; the longest
    first."""
    if not said:
        return ()
    if not in_userlist and not _may_hold_one([each.lower() for each in said]):
        return ()
    known = _names_in_userlist(said) if in_userlist else _names_in_rules(said)
    return in_order(
        part
        for part in _parts_of(said)
        if part not in known and part.lower() not in _VOCABULARY and not _MARK.fullmatch(part)
    )


def _parts_of(said: Iterable[str]) -> Iterator[str]:
    return (part for word in said for part in _PARTS.findall(word))


def _may_hold_one(said: Sequence[str]) -> bool:
    """Tells whether a line, given its words in small letters, may hold a secret."""
    # The colon, or what was to be a blank, may be the one behind the keyword.
    if any(each in _BESIDE or re.split("[:=]", each)[0] in _BESIDE for each in said):
        return True
    if any(is_secret(name) for name, equals, _ in (each.partition("=") for each in said) if equals):
        return True
    first = said[0].partition(":")[0]
    if first == "stats":
        return any(":" in each for each in said) and (len(said) < 2 or said[1] not in _OF_STATS)
    return any(map(_KEYED.search, said)) or (not _RULES.isdisjoint(said) and any(map(_MARK.search, said)))


def _names_in_rules(said: Sequence[str]) -> set[str]:
    """Returns the words of a rule that are names where they stand: of sections, methods, fetches and converters."""
    names: set[str] = set()
    for before, word in pairwise(("", *said)):
        if before in _BEFORE_NAMES or before in _BEFORE_ACTIONS or before in _STAGES:
            names.add(word.partition("(")[0])
        if (before in _BEFORE_FETCHES and _FETCH.match(word)) or (before == "-m" and _METHOD.match(word)):
            names.add(word)
        for arguments in _OF_SECTIONS.findall(word):
            names.update(re.split("[,/]", arguments))
        names.update(part for name in _OF_NAMES.findall(word) for part in _PARTS.findall(name))
        names.update(_CALLED.findall(word))
    if said[0] == "acl" and len(said) > 2 and _FETCH.match(said[2]):
        names.add(said[2])
    return names | _acls_named(said)


def _acls_named(said: Sequence[str]) -> set[str]:
    """Returns the names of the ACLs in the condition of a rule. One with a brace, or a part of what stands in braces,
    may have a pattern in their place."""
    at = next((at for at, word in enumerate(said) if word in ("if", "unless")), len(said))
    terms = [each.removeprefix("!") for each in said[at + 1 :]]
    return set() if any(_NO_NAME.search(each) for each in terms) else set(terms)


def _names_in_userlist(said: Sequence[str]) -> set[str]:
    """Returns the words of a line of a userlist that are names where they stand: of who has a password behind it, and
    of groups. A name with a colon may be followed by a password."""
    keyword, rest = said[0], said[1:]
    if any(":" in each for each in said):
        return set()
    names: set[str] = set()
    if keyword == "user" and len(rest) > 2 and rest[1] in ("password", "insecure-password", "groups"):
        names.add(rest[0])
    for word, value in pairwise(rest):
        if word == "groups" or (word == "users" and keyword == "group"):
            names.update(value.split(","))
    if keyword == "group" and rest:
        names.add(rest[0])
    passwords = {value for word, value in pairwise(rest) if word.endswith("password")}
    return names - passwords


def in_order(parts: Iterable[str]) -> tuple[str, ...]:
    """Returns each once, the longest first, without those that are too short to be a secret."""
    return tuple(sorted({part for part in parts if len(part) > 2}, key=len, reverse=True))


def without(text: str, secrets: Sequence[str]) -> str:
    """Returns the text of a message without these."""
    if long := [each for each in secrets if len(each) >= _LONG]:
        text = _whole(long).sub(HIDDEN, text)
    if short := [each for each in secrets if len(each) < _LONG]:
        pattern = _whole(short)
        text = re.sub(r"'[^']*'", lambda quoted: pattern.sub(HIDDEN, quoted[0]), text)
    return text


def quotable(text: str) -> str:
    """Returns a value of the configuration, such as an expression, without what may be a secret in it: for a message of
    the running daemon, which knows no line."""
    secrets = secrets_of((text,), in_userlist=False)
    return without(f"'{text}'", secrets)[1:-1] if secrets else text


def _whole(parts: Iterable[str]) -> re.Pattern[str]:
    """Returns what finds these in a text, but not within a word: of a hint, that would leave one that nobody knows."""
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, parts))})(?![A-Za-z0-9])", re.IGNORECASE)
