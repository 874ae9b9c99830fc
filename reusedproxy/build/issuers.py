"""Reads what completes the chains of certificates, from the directory that `issuers-chain-path` names."""

from __future__ import annotations

import os

from reusedproxy.build.crt_lists import files_in
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Global
from reusedproxy.config.model.values import Notice
from reusedproxy.net.tls.issuers import NO_ISSUERS, Issuers, read_issuers


def issuers_of(settings: Global, faults: list[Fault], notices: list[Notice]) -> Issuers:
    """Returns the issuers; none where no directory is named. Adds to `faults` and, for single files, to `notices`."""
    said = settings.issuers
    if said is None:
        return NO_ISSUERS
    if not os.path.isdir(said.value):
        faults.append(Fault(said.place, f"'{said.word}': {said.value} is no directory"))
        return NO_ISSUERS
    texts: list[str] = []
    found = read_issuers(said.value, [each for each in files_in(said.value) if not os.path.isdir(each)], texts)
    notices += [Notice("warning", said.place, text) for text in texts]
    return found
