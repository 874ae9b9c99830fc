"""Loads configuration files and directories of them, and renders all faults as lines for people.

Reads the text of configuration files only; files that they name are read by `build` and `net.tls.files`. Must never
know what the configuration is used for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Container, Iterable

from OpenSSL import SSL

from reusedproxy.config.language.haproxy_words import GLOBAL_BY_TWISTD
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.values import Notice
from reusedproxy.config.reader import ConfigurationError, Source, reading
from reusedproxy.daemon.findings import FileFault, in_order
from reusedproxy.daemon.parts import loading_parts
from reusedproxy.net.files import LARGEST_TEXT, bounded, open_or_pipe, unless_pipe
from reusedproxy.net.slices import Steps, run_through


class Refused(Exception):
    """Reports a configuration that cannot be used.

    `findings` are all faults and warnings, in the order of the files and their lines, and `lines` the same for people.
    `files` are the names in reading
    order, if known. `summary` counts the words of the configuration, "" where they were all read.
    """

    def __init__(
        self, faults: Iterable[object], notices: Iterable[Notice] = (), files: Iterable[str] = (), summary: str = ""
    ) -> None:
        self.summary = summary
        self.faults, self.notices = list(faults), list(notices)
        self.findings = in_order(self.faults, self.notices, files)
        self.lines = [str(each) for each in self.findings]
        super().__init__("\n".join(self.lines))


def load(paths: list[str], done: Container[str] = ()) -> Configuration:
    """Reads configuration files and directories of them. Raises Refused.

    Of `done`, words of section `global` that twistd does already, nothing is said.
    """
    return run_through(loading(paths, done=done))


def loading(paths: list[str], again: bool = False, done: Container[str] = ()) -> Steps[Configuration]:
    """Reads the configuration like `load`, in steps, and loads the parts of the program that it uses. With `again`
    clients are being served, so no pipe is waited for. Raises Refused."""
    sources, faults = _read(paths, again)
    if faults:
        raise Refused(faults)
    try:
        done = GLOBAL_BY_TWISTD if again else done  # its options count at a start, which has said so
        library = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("latin-1")
        configuration = yield from reading(sources, os.environ, library, done)
        yield from loading_parts(configuration)
        return configuration
    except ImportError as error:
        raise Refused([FileFault(paths[0], f"what it uses of the program cannot be loaded: {error}")]) from None
    except ConfigurationError as error:
        raise Refused(error.faults, error.notices, [source.name for source in sources], error.summary) from None


def _read(paths: list[str], again: bool) -> tuple[list[Source], list[FileFault]]:
    """Returns the texts, and the faults of files that cannot be read.

    A pipe is read only if a path names it, not one in a directory, and only at the start, which is not `again`.
    Devices are not read: a terminal would be waited for, and others have no end.
    """
    sources: list[Source] = []
    faults: list[FileFault] = []
    read: dict[tuple[int, int], tuple[str, str]] = {}
    for path in paths:
        try:
            names = files_in(path)
            if not names:
                faults.append(FileFault(path, "there is no *.cfg file in this directory"))
            for name in names:
                descriptor = unless_pipe(name, os.O_RDONLY) if again or name != path else open_or_pipe(name)
                with bounded(descriptor, name, LARGEST_TEXT) as file:
                    status = os.fstat(file.fileno())
                    if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
                        raise OSError(errno.EINVAL, "it is a device, and no file", name)
                    same = (status.st_dev, status.st_ino)
                    if same in read and stat.S_ISREG(status.st_mode):
                        faults.append(_named_twice(name, path, *read[same]))
                        continue
                    read[same] = name, path
                    # Invalid UTF-8 is reported with its line later; in a comment it does no harm.
                    sources.append(Source(name, file.read().decode("utf-8", "surrogateescape")))
        except OSError as error:
            faults.append(FileFault(error.filename, f"cannot be read: {error.strerror}"))
    return sources, faults


def _named_twice(name: str, path: str, other: str, other_path: str) -> FileFault:
    """Returns the fault of a file that is read twice: each of its sections would have a
    duplicate at the same line."""
    if os.path.normpath(name) != os.path.normpath(other):
        return FileFault(name, f"this is the same file as {other}, which is read already")
    return FileFault(name, f"this file is named twice: by '--config {other_path}' and by '--config {path}'")


def files_in(path: str) -> list[str]:
    """Returns the files to read for the path: itself, or the *.cfg files of a directory. Raises OSError.

    As in HAProxy, hidden ones (an editor's, or put out of action by their dot) and directories are not among them.
    """
    if not os.path.isdir(path):
        return [path]
    names = [name for name in sorted(os.listdir(path)) if name.endswith(".cfg") and not name.startswith(".")]
    return [each for name in names if not os.path.isdir(each := os.path.join(path, name))]
