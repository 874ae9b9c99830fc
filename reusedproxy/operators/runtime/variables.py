"""Shows variables of the process (scope `proc`) to the runtime API, and sets them: `get var`, `set var`.

Texts are HAProxy's, but for what is wrong with an expression. It must never know who reads the variables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reusedproxy.config.language.report import Line, Report, Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.process import read_process_variable
from reusedproxy.config.rules.variables import OF_PROCESS, is_variable
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.casts import to_text, type_name
from reusedproxy.sessions.process import set_for_process

#: The most variables that there may be where an operator sets one more: each takes memory, and nobody else counts
#: them.
MOST = 4096
_UNPRINTABLE = re.compile(rb"[^ -~]")


def get_var(context: Context, words: Sequence[str]) -> str:
    """Does `get var <name>`."""
    if not words:
        raise Refusal("Missing process-wide variable identifier.")
    name = words[0]
    found = context.proxy.variables.get(name)
    if found is None:
        raise Refusal("Variable not found.")
    text = _UNPRINTABLE.sub(b".", to_text(found) or b"").decode("ascii")
    return f"{name}: type={type_name(found)} value=<{text}>\n"


def set_var(context: Context, words: Sequence[str]) -> str:
    """Does `set var <name> [expr] <expression>` and `set var <name> fmt <format>`."""
    if not words:
        raise Refusal("Missing process-wide variable identifier.")
    if len(words) < 2:
        raise Refusal("Missing either 'expr', 'fmt' or expression.")
    name, kind, text = (words[0], words[1], words[2]) if len(words) > 2 else (words[0], "expr", words[1])
    if kind not in ("expr", "fmt"):
        raise Refusal(f"'set var': arg type must be either 'expr' or 'fmt' but got '{kind}'.")
    plain = name.partition(",")[0]
    if is_variable(plain) and not plain.startswith(OF_PROCESS):
        raise Refusal(f"'set var': cannot set variable '{name}', only scope 'proc' is permitted here.")
    proxy = context.proxy
    variables = proxy.variables
    if plain not in variables and len(variables) >= MOST:
        raise Refusal(f"There are {MOST} variables already.")
    line = Line(Place("set var", 0), ("set var",))
    try:
        text.encode()
        action = read_process_variable("set-var-fmt" if kind == "fmt" else "set-var", name, text, line, Report(()))
        set_for_process(action, variables, proxy.configuration.global_, proxy.deadlines.now() - proxy.began)
    except UnicodeEncodeError:
        raise Refusal("'set var': a text is in UTF-8.") from None
    except (Wrong, Unevaluated) as wrong:
        raise Refusal(str(wrong)) from None
    proxy.ordered_variables.add(action.name)
    return ""
