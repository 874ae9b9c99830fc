"""What to tell somebody who wrote a word that exists nowhere, or not here: words of articles, slips, wrong places; and what such
a line was meant to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.report import Line, nearest

# A widely read article recommends these and HAProxy has none of them.
_KEEPALIVE_TIMEOUTS = ("keepalive-timeout", "keep-alive-timeout", "http-keep-alive-timeout", "http-keepalive-timeout")


def server_close(value: str) -> str:
    """For those who read that `option http-server-close` takes a number of seconds."""
    return (
        "'option http-server-close' takes no number: it closes the connection to the server after every response, the"
        " opposite of reuse. To say how long an idle connection to a server is kept, write"
        f" 'pool-idle-timeout {_with_unit(value)}' on the 'server' line; for clients' connections,"
        " 'timeout http-keep-alive'"
    )


def _with_unit(value: str) -> str:
    return f"{value}s" if value.isdigit() else value


def for_unknown_word(line: Line) -> str:
    """The tail of an "unknown keyword" message, when the word is known to be a mistake for something; else ""."""
    word = line.keyword.replace("_", "-")
    if word == "http-server-close" and line.arguments:
        return f": {server_close(line.words[1])}"
    if word in _KEEPALIVE_TIMEOUTS:
        value = _with_unit(line.words[1] if line.arguments else "10s")
        return (
            f": there is no such setting. For clients' connections write 'timeout http-keep-alive {value}'; for idle"
            f" connections to servers, 'pool-idle-timeout {value}' on the 'server' line"
        )
    if word in haproxy_words.OPTIONS:
        return f": it is an option, write 'option {word}'"
    if word in haproxy_words.TIMEOUTS:
        return f": did you mean 'timeout {word}'?"
    if word in haproxy_words.SERVER or word.startswith("pool-"):
        return f": '{word}' stands on 'server' and 'default-server' lines"
    return ""


#: Each is another way of saying where servers are.
_INSTEAD_OF_SERVERS = ("dispatch", "server-template", "transparent", "option transparent")
_SECOND_WORDS: Mapping[str, Iterable[str]] = {
    "option": haproxy_words.OPTIONS.keys(),
    "timeout": haproxy_words.TIMEOUTS,
}


def meant(line: Line, keywords: Iterable[str]) -> str:
    """What a line that cannot be read would have said, as far as can be guessed: "server", "timeout client", "option httpchk".
    Nobody should be told that this is missing."""
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
