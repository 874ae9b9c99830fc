"""Holds TLS files in memory that take the place of those with the same names: what the runtime API has put there.

A certificate, the CAs of a `ca-file`, the lists of a `crl-file` and the lines of a `crt-list` are all treated alike:
whoever would read the file takes what is here. Values only: it must never know who uses a file, nor how it is decoded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import TypeVar

from attrs import Factory, evolve, frozen

from reusedproxy.config.tls.crt_list import CrtList

T = TypeVar("T")
K = TypeVar("K")
#: The file of a `crt`, and that of its key where it is said.
CertificateName = tuple[str, "str | None"]
#: Of what takes the place of a file: its name, a number of what is in it, and its size; in the shape of a file's stamp.
Stamp = tuple[str, int, int, int, int]


@frozen
class CertificateInMemory:
    """Holds a certificate with its chain, and its key, in PEM. Without content nothing has been put there yet."""

    content: bytes = b""
    key: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.content)


@frozen
class FilesInMemory:
    """Holds what takes the place of files, by their names; `authorities` and `revocations` without content are new and
    empty. Those that nobody uses are kept, too."""

    certificates: Mapping[CertificateName, CertificateInMemory] = Factory(dict)
    authorities: Mapping[str, bytes] = Factory(dict)
    revocations: Mapping[str, bytes] = Factory(dict)
    lists: Mapping[str, CrtList] = Factory(dict)

    def with_certificate(self, name: CertificateName, put: CertificateInMemory | None) -> FilesInMemory:
        """Returns these with `put` under a name; None: with nothing there."""
        return evolve(self, certificates=_with(self.certificates, name, put))

    def with_authorities(self, path: str, put: bytes | None) -> FilesInMemory:
        """Does the same with CAs."""
        return evolve(self, authorities=_with(self.authorities, path, put))

    def with_revocations(self, path: str, put: bytes | None) -> FilesInMemory:
        """Does the same with lists of revoked certificates."""
        return evolve(self, revocations=_with(self.revocations, path, put))

    def with_list(self, path: str, put: CrtList | None) -> FilesInMemory:
        """Does the same with the lines of a `crt-list`."""
        return evolve(self, lists=_with(self.lists, path, put))

    @property
    def names(self) -> list[str]:
        """Returns the names of all files that are held, in order."""
        return sorted({*(path for path, _ in self.certificates), *self.authorities, *self.revocations, *self.lists})

    def stamps(self, names: Iterable[CertificateName], paths: Collection[str]) -> tuple[Stamp, ...]:
        """Returns the stamps of what is here of certificates and of other files: whoever used one before has to be made
        anew where it has another stamp now."""
        return tuple(dict.fromkeys(self._stamps(names, paths)))

    def _stamps(self, names: Iterable[CertificateName], paths: Collection[str]) -> Iterator[Stamp]:
        for name in names:
            if (each := self.certificates.get(name)) is not None:
                yield _stamp(name[0], each.content + b"\0" + each.key)
        for files in (self.authorities, self.revocations):
            yield from (_stamp(path, files[path]) for path in paths if path in files)
        yield from ((path, self.lists[path].edits, 0, 0, 0) for path in paths if path in self.lists)


def _with(known: Mapping[K, T], name: K, put: T | None) -> dict[K, T]:
    rest = {each: value for each, value in known.items() if each != name}
    return rest if put is None else {**rest, name: put}


def _stamp(name: str, content: bytes) -> Stamp:
    return name, int.from_bytes(sha256(content).digest(), "big"), 0, len(content), 0
