"""Parses the texts of checks that depend on variables: log-format strings and expressions.

A check has no client and no request: what is asked of those has no value, and is refused.
"""

from __future__ import annotations

import re

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.rules import Format
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.formats import read_format
from reusedproxy.config.rules.samples import FETCHES, MAPS, RESPONSE

#: The sample fetches that have a value in a check, besides those of a response.
_AT_HAND = words("always_true always_false bool int str bin ipv4 ipv6 meth var date be_name srv_name status")
_OF_RESPONSES = re.compile(r"(res\.|hdr|status\Z)")
_VARIABLE = re.compile(r"(?:check|proc)\.([A-Za-z0-9_.]+)\Z")


def read_check_format(text: str, what: str) -> tuple[Format | None, str]:
    """Parses a log-format string. Returns it, or None if it is constant, and its constant text. Raises Wrong."""
    made = read_format(text, what)
    for expression in made.expressions:
        _judge(expression, what)
    constant = made.constant
    return (made, "") if constant is None else (None, constant)


def read_check_expression(text: str, what: str) -> Expression:
    """Parses an expression. Raises Wrong."""
    expression = read_expression(text, what)
    _judge(expression, what)
    return expression


def _judge(expression: Expression, what: str) -> None:
    name = expression.fetch.name
    signature = FETCHES.get(name)
    of_response = signature is not None and signature.where == RESPONSE and not name.startswith("ssl_")
    if name not in _AT_HAND and not of_response and not _OF_RESPONSES.match(name):
        raise Wrong(f"{what}: '{name}' has no value in a check, which has neither client nor request")
    for converter in expression.converters:
        if converter.name in MAPS:
            raise Wrong(f"{what}: '{converter.name}' is not done in checks, which have no maps")
        if converter.name == "debug":
            raise Wrong(f"{what}: '{converter.name}' is not done in checks")


def check_variable(name: str, what: str) -> str:
    """Checks the name of a variable that a check sets, and returns it. Raises Wrong."""
    if not _VARIABLE.match(name):
        raise Wrong(
            f"{what}: '{name}' is no variable that a check sets: write check.NAME or proc.NAME, of letters, digits, _"
            " and ."
        )
    return name
