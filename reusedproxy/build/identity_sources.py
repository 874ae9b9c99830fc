"""Finds the files among which requests may choose at one server line: those that its maps, folders and list name.

A request never names a file: it chooses among these, which are found when the configuration is read. Knows the
configuration's values and the file system, and loads nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import TextIOWrapper

from attrs import Factory, define

from reusedproxy.build.list_files import LARGEST_LIST
from reusedproxy.build.maps import pairs_in
from reusedproxy.config.language.files import based_path
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.identities import IdentityRule
from reusedproxy.config.model.rules import Format
from reusedproxy.config.rules.identities import around_map, folder_of
from reusedproxy.config.tls.identities import ListedIdentity, read_identities
from reusedproxy.net.files import LARGEST_TEXT, Writers, bounded, names_in, open_list, why_unread
from reusedproxy.net.slices import Steps
from reusedproxy.net.tls.files import keys_beside

#: Files that HAProxy, in a directory, reads with the certificate that they belong to, not as a certificate.
BESIDE = (".key", ".issuer", ".ocsp", ".sctl")
#: Names of files that may be authorities.
AUTHORITIES = (".pem", ".crt", ".cer")
#: Most files that requests may choose among at one server line, of either kind.
MOST = 10_000


@define
class Sources:
    """Holds the files of one line: certificates, authorities, and the identities that are listed. `faults` are
    sentences."""

    crts: dict[str, None] = Factory(dict)
    authorities: dict[str, None] = Factory(dict)
    listed: list[ListedIdentity] = Factory(list)
    faults: list[str] = Factory(list)


def named_by(rule: IdentityRule) -> list[str]:
    """Returns the files and folders that say which files there are."""
    named = [rule.listed] if rule.listed else []
    for made, base in ((rule.crt, rule.crt_base), (rule.ca_file, rule.ca_base)):
        if made is not None and (found := around_map(made)) is not None:
            named.append(found[0])
        elif made is not None and (folder := folder_of(made)) is not None:
            named.append(based_path(folder, base))
    return named


def sources_of(rule: IdentityRule, depends: frozenset[str] | None) -> Steps[Sources]:
    """Finds the files, in steps. `depends` are the words of the line whose values depend on the request; None: whether
    a list says these is not looked at."""
    found = Sources()
    if rule.listed:
        yield from _list(rule, depends, found)
    for word, made, base, paths in (
        ("crt", rule.crt, rule.crt_base, found.crts),
        ("ca-file", rule.ca_file, rule.ca_base, found.authorities),
    ):
        if made is None:
            continue
        if (mapped := around_map(made)) is not None:
            yield from _mapped(mapped, word, base, paths, found.faults)
        elif folder_of(made) is not None:
            yield from _in_folder(made, word, base, paths, found.faults)
        if len(paths) > MOST:
            found.faults.append(f"'{word}': {len(paths)} files are to be chosen among, and {MOST} are the most")
            paths.clear()
    return found


def _list(rule: IdentityRule, depends: frozenset[str] | None, found: Sources) -> Steps[None]:
    what = f"pool-identities {rule.listed}"
    try:
        descriptor, writers = open_list(rule.listed)
        with TextIOWrapper(bounded(descriptor, rule.listed, LARGEST_TEXT), encoding="utf-8") as file:
            found.listed = read_identities(file.read(), depends)
    except OSError as error:
        found.faults.append(f"{what}: cannot be read: {why_unread(rule.listed, error)}")
        return
    except UnicodeDecodeError as error:
        found.faults.append(f"{what}: is not a text file in UTF-8 (byte {error.start})")
        return
    except Wrong as wrong:
        found.faults += (f"{what}: {text}" for text in wrong.texts)
        return
    if not found.listed:
        found.faults.append(f"{what}: names no identity")
    for each in found.listed:
        for path, base, paths in (
            (each.crt, rule.crt_base, found.crts),
            (each.ca_file, rule.ca_base, found.authorities),
        ):
            if path and (based := based_path(path, base)) not in paths:
                paths[based] = None
                found.faults += (f"{what}: line {each.number}: {text}" for text in _denied(writers, based, rule.listed))
                yield


def _mapped(
    mapped: tuple[str, str, str, str | None], word: str, base: str, paths: dict[str, None], faults: list[str]
) -> Steps[None]:
    file_name, before, after, default = mapped
    try:
        descriptor, writers = open_list(file_name)
        reader = bounded(descriptor, file_name, LARGEST_LIST)
        with TextIOWrapper(reader, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            values = dict.fromkeys(value.decode("utf-8", "surrogateescape") for _, value in pairs_in(lines))
    except OSError as error:
        faults.append(f"'{word}': cannot read the map {file_name}: {why_unread(file_name, error)}")
        return
    for value in [*values, *([default] if default is not None else [])]:
        path = based_path(f"{before}{value}{after}", base)
        if path not in paths and len(paths) <= MOST:
            paths[path] = None
            faults += (f"'{word}': in the map {file_name}: {text}" for text in _denied(writers, path, file_name))
            yield


def _in_folder(made: Format, word: str, base: str, paths: dict[str, None], faults: list[str]) -> Steps[None]:
    folder = based_path(folder_of(made) or "", base)
    first, last = made.parts[0], made.parts[-1]
    begin = based_path(str(first), base)
    end = last if isinstance(last, str) else ""
    try:
        names = names_in(folder)
    except OSError as error:
        faults.append(f"'{word}': the folder {folder} cannot be read: {why_unread(folder, error)}")
        return
    for name in names:
        path = f"{folder.rstrip('/')}/{name}"
        fits = not name.endswith(BESIDE) if word == "crt" else name.endswith(AUTHORITIES)
        if fits and not name.startswith(".") and path.startswith(begin) and path.endswith(end) and os.path.isfile(path):
            paths[path] = None
            yield


def _denied(writers: Writers | None, path: str, source: str) -> Iterator[str]:
    """Returns why root does not read a file that others have named: some of these could not."""
    for each in (path, *keys_beside(path)) if writers is not None else ():
        if each != path and not os.path.lexists(each):
            continue
        assert writers is not None
        if trouble := writers.trouble_with(each):
            so = f"so root does not either: chown root {source}"
            yield f"who can change this file cannot read {each} ({trouble}), {so}"
