"""Parses `http-check` and `tcp-check` lines, each to one step of a check, and keeps the order that HAProxy demands."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import evolve

from reusedproxy.config.checks.expects import hexadecimal, read_expect
from reusedproxy.config.checks.requests import Send, read_send
from reusedproxy.config.checks.texts import check_variable, read_check_expression, read_check_format
from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.addresses import check_address
from reusedproxy.config.language.report import Line, Wrong, did_you_mean, not_done
from reusedproxy.config.model.checks import Connect, Expect, SendBytes, SetVariable
from reusedproxy.config.rules.formats import read_format
from reusedproxy.config.rules.variables import variable_conditions

#: A step as it is read: a comment is its text.
Drafted = Connect | Send | SendBytes | Expect | SetVariable | str

_VARIABLE = re.compile(r"(set-var|set-var-fmt|unset-var)\((.*)\)\Z")


def read_http_step(line: Line, steps: Sequence[Drafted]) -> Drafted:
    """Parses the words after `http-check`, to come after these steps. Raises Wrong."""
    word, number = line.keyword, len(steps) + 1
    if word == "send":
        step: Drafted = read_send(line, number)
    elif word == "expect":
        step = read_expect(line, number, http=True)
    elif word == "connect":
        step = _connect(line, number, "http-check")
    else:
        return _other(line, number, "http-check", haproxy_words.HTTP_CHECK)
    last = next((each for each in reversed(steps) if not isinstance(each, str | SetVariable)), None)
    if isinstance(step, Send) and last is not None and not isinstance(last, Connect):
        raise Wrong("a further 'http-check send' needs an 'http-check connect' before it, for a connection of its own")
    if isinstance(step, Expect) and isinstance(last, Connect):
        raise Wrong("'http-check expect' needs an 'http-check send' before it, after that 'http-check connect'")
    if isinstance(step, Connect) and last is not None and not isinstance(last, Expect):
        raise Wrong("'http-check connect' needs an 'http-check expect' before it, for the answer to what was sent")
    return step


def read_tcp_step(line: Line, steps: Sequence[Drafted]) -> Drafted:
    """Parses the words after `tcp-check`, to come after these steps. Raises Wrong."""
    word, number = line.keyword, len(steps) + 1
    last = next((each for each in reversed(steps) if not isinstance(each, str | SetVariable)), None)
    if word == "connect":
        if last is None and any(isinstance(each, SendBytes | Expect) for each in steps):
            raise Wrong("the first step is 'tcp-check connect' where there is one")
        return _connect(line, number, "tcp-check")
    if word == "expect":
        return read_expect(line, number, http=False)
    if word in ("send", "send-lf", "send-binary", "send-binary-lf"):
        return _send(line, number)
    return _other(line, number, "tcp-check", haproxy_words.TCP_CHECK)


def _other(line: Line, number: int, kind: str, known: frozenset[str]) -> Drafted:
    word = line.keyword
    if word == "comment":
        if len(line.arguments) != 1:
            raise Wrong(f"'{kind} comment' needs one text: quote it")
        return line.arguments[0]
    if found := _VARIABLE.match(word):
        return _variable(line, number, f"'{kind} {found[1]}'", found[1], found[2])
    if word in ("set-var", "set-var-fmt", "unset-var"):
        raise Wrong(f"'{kind} {word}' needs the name of a variable behind it: {word}(check.name)")
    raise Wrong(f"'{kind}': unknown word '{word}'{did_you_mean(word, known)}")


def _variable(line: Line, number: int, what: str, verb: str, inside: str) -> SetVariable:
    name, *said = inside.split(",")
    name = check_variable(name, what)
    conditions = variable_conditions(said, what)
    if verb == "unset-var":
        if conditions:
            raise Wrong(f"{what}: '{conditions[0]}' is too much")
        line.at_most(0)
        return SetVariable(number, name)
    if len(line.arguments) != 1:
        raise Wrong(f"{what} needs one {'text' if verb == 'set-var-fmt' else 'expression'} after '({name})'")
    text = line.arguments[0]
    if verb == "set-var-fmt":
        read_check_format(text, what)
        return SetVariable(number, name, read_format(text, what), conditions)
    return SetVariable(number, name, read_check_expression(text, what), conditions)


def _send(line: Line, number: int) -> SendBytes:
    what, rest = f"'tcp-check {line.keyword}'", line.arguments
    if not rest or not rest[0]:
        raise Wrong(f"{what} needs what to send")
    step = SendBytes(number)
    if rest[1:2] == ("comment",) and len(rest) == 3:
        step = evolve(step, comment=rest[2])
    elif len(rest) > 1:
        raise Wrong(f"{what}: '{rest[1]}' is too much: one text, which may be quoted, and then: comment TEXT")
    if line.keyword == "send":
        return evolve(step, constant=rest[0].encode())
    if line.keyword == "send-binary":
        return evolve(step, constant=bytes.fromhex(hexadecimal(rest[0], what)))
    made, constant = read_check_format(rest[0], what)
    binary = line.keyword == "send-binary-lf"
    if made is not None:
        return evolve(step, data=made, binary=binary)
    return evolve(step, constant=bytes.fromhex(hexadecimal(constant, what)) if binary else constant.encode())


_FLAGS: dict[str, Callable[[Connect], Connect]] = {
    "default": lambda step: evolve(step, default=True),
    "ssl": lambda step: evolve(step, ssl=True),
    "send-proxy": lambda step: evolve(step, send_proxy=True),
    "linger": lambda step: evolve(step, linger=True),
}


def _connect(line: Line, number: int, kind: str) -> Connect:
    step, words = Connect(number, default=False), line.arguments
    while words:
        word, what = words[0], f"'{kind} connect': '{words[0]}'"
        if word in _FLAGS:
            step, words = _FLAGS[word](step), words[1:]
            continue
        if word == "via-socks4":
            raise Wrong(f"'{kind} connect': {not_done(word, 'word', 'checks connect directly')}")
        if word not in haproxy_words.CHECK_CONNECT:
            known = haproxy_words.CHECK_CONNECT
            raise Wrong(f"'{kind} connect': unknown word '{word}'{did_you_mean(word, known)}")
        if len(words) < 2 or not words[1]:
            raise Wrong(f"{what} needs a value")
        step, words = _connected(step, word, words[1], what), words[2:]
    return step


def _connected(step: Connect, word: str, value: str, what: str) -> Connect:
    if word == "port":
        if value.isdigit():
            return evolve(step, port=units.port(value, what))
        return evolve(step, port=read_check_expression(value, what))
    if word == "addr":
        host, at_port = check_address(value, what)
        return evolve(step, addr=host, addr_port=at_port)
    if word == "sni":
        return evolve(step, sni=value)
    if word == "comment":
        return evolve(step, comment=value)
    if word == "alpn" and value == "http/1.1":
        return step
    raise Wrong(f"{what}: {not_done(f'{word} {value}', 'word', 'checks speak HTTP/1')}")
