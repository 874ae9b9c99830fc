"""Shows the `crt-list` files and directories of listeners, and changes them in memory: `show|add|del ssl crt-list`.
Texts are HAProxy's.

A certificate of which a line is added must be known already; what a deleted line was the last to use stays known. It
must never know how a list gets into use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from attrs import evolve

from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.tls import BindTLS
from reusedproxy.config.tls.crt_list import CrtListLine, list_name, read_line
from reusedproxy.config.tls.words import IN_CRT_LIST, TLSWords
from reusedproxy.net.tls.svid import SPIFFE
from reusedproxy.operators.runtime.authorities import AUTHORITIES, REVOCATIONS
from reusedproxy.operators.runtime.certificates import CERTIFICATES
from reusedproxy.operators.runtime.messages import ERROR, NOTICE, Message
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.operators.runtime.told import without
from reusedproxy.operators.runtime.transactions import LOCKED, Kind, Result, Turning, outcome
from reusedproxy.operators.view.certificates import ListedCertificate, binds_of, crt_lists

#: Lines of a list in one piece of an answer.
LINES_AT_ONCE = 200
_KINDS: tuple[Kind[Any], ...] = (CERTIFICATES, AUTHORITIES, REVOCATIONS)
#: Options of a line that name a file.
_FILES = (("ca-file", AUTHORITIES), ("ca-verify-file", AUTHORITIES), ("crl-file", REVOCATIONS))


def show_ssl_crt_list(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl crt-list [-n] [<list>]`."""
    numbered = words[:1] == ["-n"]
    asked = words[1:2] if numbered else words[:1]
    if numbered and not asked:
        raise Refusal("'show ssl crt-list -n' expects a filename or a directory")
    known = context.proxy.trusts.lists
    if not asked:
        yield "".join(f"{path}\n" for path in sorted(known))
        return
    path = list_name(asked[0])
    if path not in known:
        raise Refusal("didn't find the specified filename")
    yield f"# {path}\n"
    lines = iter(_entries(context, path))
    while some := [*islice(lines, LINES_AT_ONCE)]:
        yield "".join(
            f"{each.name}{f':{each.line}' if numbered else ''}{f' [{each.options}]' if each.options else ''}"
            f"{''.join(f' {name}' for name in each.names)}\n"
            for each in some
        )


def add_ssl_crt_list(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `add ssl crt-list <list> <certificate>`, or `add ssl crt-list <list> <<` with a whole line."""
    if not words or (context.payload is None and len(words) < 2):
        raise Refusal("'add ssl crtlist' expects a filename and a certificate name")
    if context.service.files_are_locked:
        raise Refusal(LOCKED)
    path = list_name(words[0])
    try:
        line = _line(context, path, words)
    except (Refusal, Wrong) as error:
        # Who has mixed up his files may have sent a key.
        why = str(error) if context.payload is None else without(str(error), context.payload.strip(), IN_CRT_LIST)
        raise Refusal(f"Can't edit the crt-list: {why}") from None
    trusts = context.proxy.trusts
    files = trusts.in_memory.with_list(path, trusts.lists[path].with_line(line))
    uses = len(binds_of(context.proxy, path))
    turning = Turning(context, files, path, "add ssl crt-list", lambda result: None)
    yield f"Inserting certificate '{line.bundle}' in crt-list '{path}'"
    yield outcome(uses, (yield from turning.result()))


def del_ssl_crt_list(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `del ssl crt-list <list> <certificate>[:<line>]`."""
    if len(words) < 2:
        raise Refusal("'del ssl crtlist' expects a filename and a certificate name")
    if context.service.files_are_locked:
        raise Refusal(f"Can't delete!\n{LOCKED}")
    path, failed = list_name(words[0]), "Can't delete the entry: "
    try:
        entry = _entry(context, path, words[1])
    except Refusal as refusal:
        raise Refusal(f"{failed}{refusal}") from None
    trusts = context.proxy.trusts
    held = trusts.lists[path]
    gone = [each for each in held.lines if (each.number, (each.path, each.key)) == (entry.line, entry.file)]
    files = trusts.in_memory.with_list(path, held.without(gone))
    result = yield from Turning(context, files, path, "del ssl crt-list", _keeping(context)).result()
    if result.wrong:
        yield Message("".join((failed, *(f"{each}\n" for each in result.wrong))), ERROR)
    else:
        yield Message(f"Entry '{entry.name}' deleted in crtlist '{path}'!\n", NOTICE)


def _entries(context: Context, path: str) -> list[ListedCertificate]:
    return crt_lists(context.proxy, context.proxy.configuration.global_.stored_certificates).get(path, [])


def _line(context: Context, path: str, words: Sequence[str]) -> CrtListLine:
    """Returns the line that is to be added to a list. Raises Refusal and Wrong."""
    held = context.proxy.trusts.lists.get(path)
    if held is None:
        raise Refusal(f"crt-list '{path}' does not exist!")
    line = _said(context.payload, words)
    (tls, *_) = [each.tls for each in binds_of(context.proxy, path) if each.tls is not None]
    name = based_path(line.path, tls.crt_base)
    known = CERTIFICATES.known(context).get(name)
    if known is None or name == SPIFFE:  # which is shown to servers only
        raise Refusal(f"certificate '{name}' does not exist!")
    if not known.content:
        raise Refusal(f"certificate '{name}' is empty!")
    _demand_known(context, line, tls)
    file, key = known.key
    if held.found is not None:
        if any((each.path, each.key) == known.key for each in held.lines):
            raise Refusal("file already exists in this directory!")
        if line.words.words or line.names:
            raise Refusal("this is a directory, SSL configuration and filters are not allowed")
    return evolve(line, path=file, key=key, bundle=name)


def _said(payload: str | None, words: Sequence[str]) -> CrtListLine:
    """Returns the line that was said. Raises Refusal and Wrong."""
    if payload is None:
        return CrtListLine(1, words[1], TLSWords())
    text = payload.removesuffix("\n")
    if "\n" in text:
        raise Refusal("only one line of payload is supported!")
    if not text.strip():
        raise Refusal("'add ssl crtlist' should contain the certificate name in the payload")
    return read_line(text.strip(), 1, "parsing [CLI:1]")


def _demand_known(context: Context, line: CrtListLine, tls: BindTLS) -> None:
    """Raises Refusal where the options of a line name a file that is not known: none is read for an order."""
    for word, kind in _FILES:
        said = line.words.said.get(word.replace("-", "_"))
        if said is not None and (path := based_path(said, tls.ca_base)) not in kind.known(context):
            raise Refusal(f"'{word}' : unable to load {path}")


def _entry(context: Context, path: str, asked: str) -> ListedCertificate:
    """Returns the line of a list that is meant by the name of its certificate, with its number where that is needed.
    Raises Refusal."""
    name, colon, said = asked.partition(":")
    if colon and not (said.isascii() and said.isdigit()):
        raise Refusal(f"wrong line number after colons in '{asked}'!")
    if path not in context.proxy.trusts.lists:
        raise Refusal(f"crt-list '{path}' does not exist!")
    known = CERTIFICATES.known(context).get(name)
    if known is None:
        raise Refusal(f"certificate '{name}' does not exist!")
    if not known.content:
        raise Refusal(f"certificate '{name}' is empty!")
    found = [each for each in _entries(context, path) if each.name == name]
    if not found:
        raise Refusal(f"certificate '{name}' can't be found in crt-list '{path}'!")
    lines = ", ".join(str(each.line) for each in found)
    number = int(said[:9]) if colon else 0
    meant = next((each for each in found if number in (0, each.line)), None)
    specify = "line number preceded by colons"
    if meant is None:
        wrong = "but the line number is incorrect, please specify a correct"
        raise Refusal(f"found a certificate '{name}' {wrong} {specify} ({lines})!")
    if number == 0 and len(found) > 1:
        raise Refusal(f"found the certificate '{name}' in several entries, please specify a {specify} ({lines})!")
    if meant.bind_lines:
        used = "it is used as default certificate by the following frontends"
        places = "".join(f"\t- {each.file}:{each.line}\n" for each in meant.bind_lines)
        raise Refusal(f"certificate '{name}' cannot be deleted, {used}:\n{places}")
    return meant


def _keeping(context: Context) -> Callable[[Result], None]:
    """Returns a function that keeps in memory what is known now and is not used any more when it is called."""
    before = [(kind, kind.known(context)) for kind in _KINDS]

    def over(result: Result) -> None:
        trusts = context.proxy.trusts
        for kind, known in before if not result.wrong else ():
            now = kind.known(context)
            for name, each in known.items():
                if name not in now:
                    trusts.in_memory = kind.put(trusts.in_memory, each.key, each.content)

    return over
