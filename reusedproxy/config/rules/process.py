"""Reads what is said of variables of the whole process (scope `proc`) where there is neither client nor request: by
`set-var` and `set-var-fmt` of section `global`, and by `set var` of the runtime API.

As in HAProxy only constants, variables and what the process knows of itself have a value there.
"""

from __future__ import annotations

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.rules import Format, Rule
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.actions import REQUEST_ACTIONS, SetVariable
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CONVERTERS, MAPS, REQUEST
from reusedproxy.config.rules.variables import OF_PROCESS

#: The sample fetches that have a value there (HAProxy's SMP_USE_CONST), and the aliases of formats.
AT_HAND = words(
    """
    always_false always_true bin bool date date_us env hostname int ipv4 ipv6 meth nbproc pid proc quic_enabled rand str
    tgroup thread uptime uuid var
    """
)
ALIASES = words("%H %T %Tl %Ts %ms %pid %t")


def read_variable_line(line: Line, report: Report) -> Rule:
    """Parses `set-var NAME EXPRESSION` or `set-var-fmt NAME FORMAT`. Raises Wrong."""
    word, kind = line.keyword, "a format" if line.keyword == "set-var-fmt" else "an expression"
    if len(line.arguments) != 2:
        raise Wrong(f"'{word}' needs the name of a variable, {OF_PROCESS}NAME, and {kind} (one word, or quoted)")
    return Rule(line.place, word, read_process_variable(word, *line.arguments, line, report))


def read_process_variable(word: str, name: str, text: str, line: Line, report: Report) -> SetVariable:
    """Parses the setting of a variable: `word` is that of the action, `set-var` or `set-var-fmt`, and behind the name
    there may be conditions. Raises Wrong."""
    what = f"'{word} {name}'"
    reading = Reading((f"({name})", text), what, REQUEST, word, "section 'global'", line, report)
    made = REQUEST_ACTIONS[word](reading)
    assert isinstance(made, SetVariable)
    if not made.name.startswith(OF_PROCESS):
        raise Wrong(f"{what}: only variables of the scope 'proc' are the whole process's: write {OF_PROCESS}NAME")
    said = made.value.expressions if isinstance(made.value, Format) else (made.value,)
    for expression in said:
        assert isinstance(expression, Expression)
        _judge(expression, what)
    return made


def _judge(expression: Expression, what: str) -> None:
    name = expression.fetch.name
    if name not in AT_HAND | ALIASES:
        near = did_you_mean(name, AT_HAND)
        raise Wrong(f"{what}: '{name}' has no value there, where there is neither client nor request{near}")
    for converter in expression.converters:
        signature = CONVERTERS[converter.name]
        if converter.name in MAPS or converter.name in ("debug", "when") or signature.table >= 0:
            raise Wrong(f"{what}: '{converter.name}' is not done there: only rules have maps, tables and logs")
