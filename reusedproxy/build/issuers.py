"""Reads what completes the chains of certificates, from the directory that `issuers-chain-path` names."""

from __future__ import annotations

import os

from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Global
from reusedproxy.config.model.values import Notice
from reusedproxy.net.files import names_in, why_unread
from reusedproxy.net.slices import Steps
from reusedproxy.net.tls.issuers import NO_ISSUERS, Issuers, reading_issuers


def finding_issuers(
    settings: Global, before: Issuers, faults: list[Fault], notices: list[Notice], *, again: bool
) -> Steps[Issuers]:
    """Returns the issuers, in steps; none where no directory is named. Adds to `faults` and, for single files, to
    `notices`.

    A file that has completed chains `before`, and cannot be used any more, is a fault, as with other files of TLS: it
    may be half written, or not for the daemon's user. With `again` the configuration is the same, and what was said
    before is not repeated.
    """
    said = settings.issuers
    if said is None:
        return NO_ISSUERS
    path = said.value
    if not os.path.isdir(path):
        faults.append(Fault(said.place, f"'{said.word}': {path} is no directory"))
        return NO_ISSUERS
    try:
        names = names_in(path)
    except OSError as error:
        faults.append(Fault(said.place, f"{said.word} {path}: cannot be read: {why_unread(path, error)}"))
        return NO_ISSUERS
    found = yield from reading_issuers(os.path.join(path, name) for name in names if not name.startswith("."))
    used = before.paths
    lost = [text for file, text in found.unusable.items() if file in used]
    faults += [Fault(said.place, text) for text in lost]
    known = {*lost, *(before.left_out if again else ())}
    notices += [Notice("warning", said.place, text) for text in found.left_out if text not in known]
    return found
