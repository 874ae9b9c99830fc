"""Does what a client orders of its own session: its level, its prompt, how long it may be idle, how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reusedproxy import __version__
from reusedproxy.config.language import units
from reusedproxy.config.language.report import Wrong
from reusedproxy.operators.runtime.messages import FORMS, INFO, Message
from reusedproxy.operators.runtime.proxy import LEVELS, Context, Refusal

_PROMPT_USAGE = """\
Usage: prompt [help | n | i | p | timed]*
  help    show these words
  n       end the connection after the commands of a line
  i       keep the connection, without a prompt
  p       keep the connection, with a prompt
  timed   show in the prompt how long the process has run, or stop showing it
Without a word: p, or n where there is a prompt already.
"""


def show_version(context: Context, words: Sequence[str]) -> str:
    return Message(f"{__version__}\n", INFO)


def show_cli_level(context: Context, words: Sequence[str]) -> str:
    return Message(f"{LEVELS[context.level]}\n", INFO)


def show_cli_sockets(context: Context, words: Sequence[str]) -> str:
    return "# socket lvl processes\n" + "".join(f"{each.address} {each.level} all\n" for each in context.sockets)


def set_timeout(context: Context, words: Sequence[str]) -> str:
    """Does `set timeout cli <time>`, in seconds without a unit."""
    if words[:1] != ["cli"]:
        raise Refusal("'set timeout' only supports 'cli'.")
    try:
        seconds = units.seconds(f"{words[1]}s" if words[1:] and words[1].isdigit() else "".join(words[1:2]), "")
    except Wrong:
        seconds = 0.0
    if seconds <= 0:
        raise Refusal("Invalid timeout value.")
    context.timeout = seconds
    return ""


def set_severity_output(context: Context, words: Sequence[str]) -> str:
    """Does `set severity-output none|number|string`: whether messages begin with their severity."""
    if not words or words[0] not in FORMS:
        raise Refusal("one of 'none', 'number', 'string' is a required argument")
    context.severities = words[0]
    return ""


def lower_level(level: int) -> Callable[[Context, Sequence[str]], str]:
    """Returns a command that takes rights from the session; nothing gives them back."""

    def run(context: Context, words: Sequence[str]) -> str:
        context.needs(level)
        context.level = level
        return ""

    return run


def prompt(context: Context, words: Sequence[str]) -> str:
    """Does `prompt [help|n|i|p|timed]*`; the last of the modes counts."""
    mode, timed = "", False
    for word in words:
        if word == "help":
            return Message(_PROMPT_USAGE, INFO)
        if word == "timed":
            timed = True
        elif word in ("n", "i", "p"):
            mode = word
        else:
            raise Refusal(_PROMPT_USAGE, "")
    if timed:
        context.timed = not context.timed
    mode = mode or ("n" if context.prompts and not timed else "p")
    context.interactive, context.prompts = mode != "n", mode == "p"
    return ""


def mode(name: str) -> Callable[[Context, Sequence[str]], str]:
    """Returns the command `expert-mode` or `experimental-mode`. Programs say these before some commands, as HAProxy
    demands; here no command needs one."""

    def run(context: Context, words: Sequence[str]) -> str:
        if not words:
            return Message(f"{name} is {'ON' if name in context.modes else 'OFF'}\n", INFO)
        context.modes = context.modes - {name} | ({name} if words[0] == "on" else set())
        return ""

    return run


def echo(context: Context, words: Sequence[str]) -> str:
    return Message(f"{' '.join(words)}\n", INFO)


def hand_over(context: Context, words: Sequence[str]) -> str:
    """Does `hand over`: gives the listening sockets to the process at the other end."""
    if not context.exposes:
        raise Refusal("Needs a socket with 'expose-fd listeners', and a process of root or of the daemon's user.")
    if not context.is_last:
        # HAProxy leaves out what stands behind its '_getsocks', without a word.
        raise Refusal("Nothing may follow 'hand over', behind which the connection carries sockets: it was not done.")
    if why_not := context.service.why_not_handed_over:
        raise Refusal(why_not)
    context.takes_over = True
    return ""


def leave(context: Context, words: Sequence[str]) -> str:
    """Does `quit`."""
    context.leaves = True
    return ""
