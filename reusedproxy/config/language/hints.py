"""Gives hints for words that exist nowhere, or not in this place: words from articles, typing errors, wrong sections.

Guesses, too, which keyword an unreadable line was meant to have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.report import Line, did_you_mean, nearest

# A widely read article recommends these words; HAProxy has none of them.
_KEEPALIVE_TIMEOUTS = ("keepalive-timeout", "keep-alive-timeout", "http-keep-alive-timeout", "http-keepalive-timeout")


def server_close(value: str) -> str:
    """Returns the message for a number after `option http-server-close`, which some articles describe
    as a number of seconds."""
    return (
        "'option http-server-close' takes no number: it closes the connection to the server after every response, the"
        " opposite of reuse. To say how long an idle connection to a server is kept, write"
        f" 'pool-idle-timeout {_with_unit(value)}' on the 'server' line; for clients' connections,"
        " 'timeout http-keep-alive'"
    )


def _with_unit(value: str) -> str:
    return f"{value}s" if value.isdigit() else value


def for_unknown_word(line: Line) -> str:
    """Returns the tail of an "unknown keyword" message when the word is a known mistake, else ""."""
    word = line.keyword.replace("_", "-")
    if word == "http-server-close" and line.arguments:
        return f": {server_close(line.words[1])}"
    if word in _KEEPALIVE_TIMEOUTS:
        value = _with_unit(line.words[1] if line.arguments else "10s")
        return (
            f": there is no such setting. For clients' connections write 'timeout http-keep-alive {value}'; for idle"
            f" connections to servers, 'pool-idle-timeout {value}' on the 'server' line"
        )
    if word == "default-resolvers":
        name = line.words[1] if line.arguments else "<section>"
        return f": HAProxy has no such word either: write 'default-server resolvers {name}'"
    if word in haproxy_words.OPTIONS:
        return f": it is an option, write 'option {word}'"
    if word in haproxy_words.TIMEOUTS:
        return f": did you mean 'timeout {word}'?"
    if word in haproxy_words.SERVER or word.startswith("pool-"):
        return f": '{word}' stands on 'server' and 'default-server' lines"
    return ""


def before_sections(line: Line) -> str:
    """Returns the tail of the message for a line that no section stands before: where its word belongs."""
    word = line.keyword
    if word in haproxy_words.PROXY:
        return ": it belongs in section 'defaults', 'frontend', 'backend' or 'listen'"
    if word in haproxy_words.GLOBAL:
        return ": it belongs in section 'global'"
    return for_unknown_word(line) or did_you_mean(word, haproxy_words.SECTIONS)


#: Other ways of naming servers.
_INSTEAD_OF_SERVERS = ("dispatch", "server-template", "transparent", "option transparent")
_SECOND_WORDS: Mapping[str, Iterable[str]] = {
    "option": haproxy_words.OPTIONS.keys(),
    "timeout": haproxy_words.TIMEOUTS,
}


def meant(line: Line, keywords: Iterable[str]) -> str:
    """Guesses which keyword an unreadable line was meant to have: "server", "timeout client", "option httpchk".

    With it no message complains that this keyword is missing.
    """
    word = line.keyword
    if word not in (known := set(keywords)):
        instead = re.search("'([^']+)'", haproxy_words.PROXY_REMOVED.get(word, ""))
        if instead:
            return meant(Line(line.place, tuple(instead[1].split())), keywords)
        for kind, names in _SECOND_WORDS.items():
            if word in names:
                return f"{kind} {word}"
        word = word if word in _INSTEAD_OF_SERVERS else nearest(word, known) or word
    if line.arguments and word in _SECOND_WORDS:
        word = f"{word} {nearest(line.words[1], _SECOND_WORDS[word]) or line.words[1]}"
    return "server" if word in _INSTEAD_OF_SERVERS else word
