"""Sets how many clients may come in a second (`set rate-limit`), in HAProxy's words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reusedproxy.clients.connection_limit import ACCEPTED, CONNECTIONS, HANDSHAKES
from reusedproxy.operators.runtime.proxy import Context, Refusal

_WORDS = {"connections": CONNECTIONS, "sessions": ACCEPTED, "ssl-sessions": HANDSHAKES}
_USAGE = (
    "'set rate-limit' only supports :\n"
    "   - 'connections global' to set the per-process maximum connection rate\n"
    "   - 'sessions global' to set the per-process maximum session rate\n"
    "   - 'ssl-sessions global' to set the per-process maximum SSL session rate"
)


def set_rate_limit(context: Context, words: Sequence[str]) -> str:
    """Does `set rate-limit connections|sessions|ssl-sessions global <value>`, in clients a second. 0 is no limit, nor
    is what is no number."""
    if words[1:2] != ["global"] or words[0] not in _WORDS:
        raise Refusal(_USAGE)
    if len(words) < 3:
        raise Refusal("Expects an integer value.")
    found = re.match(r"[+-]?[0-9]{1,9}", words[2])
    most = 0 if found is None else int(found[0])
    if most < 0:
        raise Refusal("Value out of range.")
    context.proxy.places.limit_rate(_WORDS[words[0]], most, context.proxy.deadlines)
    return ""
