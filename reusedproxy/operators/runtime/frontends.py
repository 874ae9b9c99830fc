"""Does what the runtime API is ordered of frontends: to accept nobody for now, or for good, and how many clients, in
HAProxy's words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reusedproxy.clients.frontend import Frontend
from reusedproxy.operators.runtime.messages import NOTICE
from reusedproxy.operators.runtime.proxy import Context, Refusal


def disable_frontend(context: Context, words: Sequence[str]) -> str:
    frontend = _frontend(context, words)
    if frontend.shut:
        raise Refusal("Frontend was previously shut down, cannot disable.", severity=NOTICE)
    if frontend.disabled:
        raise Refusal("All sockets are already disabled.", severity=NOTICE)
    if not frontend.disable():
        raise Refusal("Failed to pause frontend, check logs for precise cause.")
    return ""


def enable_frontend(context: Context, words: Sequence[str]) -> str:
    frontend = _frontend(context, words)
    if frontend.shut:
        raise Refusal("Frontend was previously shut down, cannot enable.")
    if not any(each.shut for each in frontend.listeners):
        raise Refusal("All sockets are already enabled.", severity=NOTICE)
    if not frontend.enable():
        raise Refusal("Failed to resume frontend, check logs for precise cause (port conflict?).")
    return ""


def shutdown_frontend(context: Context, words: Sequence[str]) -> str:
    frontend = _frontend(context, words)
    if frontend.shut:
        raise Refusal("Frontend was already shut down.", severity=NOTICE)
    frontend.shut_down()
    return ""


def _frontend(context: Context, words: Sequence[str]) -> Frontend:
    if not words:
        raise Refusal("A frontend name is expected.")
    return context.frontend(words[0])


def set_maxconn_frontend(context: Context, words: Sequence[str]) -> str:
    frontend = _frontend(context, words)
    if len(words) < 2:
        raise Refusal("Integer value expected.")
    if re.match(r"-[0-9]", words[1]):
        raise Refusal("Value out of range.")
    if not re.match(r"[0-9]{1,9}\Z", words[1]):
        raise Refusal("Integer value expected.")
    frontend.set_maxconn(int(words[1]))
    return ""
