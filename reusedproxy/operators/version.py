"""Says which build of reusedproxy this is: its version, and whether what a request passes is compiled; and in detail,
for reports, with what it runs: the system, Python, the libraries and what is optional."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

from OpenSSL import SSL

from reusedproxy import __version__
from reusedproxy.config.language.features import FEATURES
from reusedproxy.config.rules.actions import SERVICES
from reusedproxy.config.sections.filters import FILTERS
from reusedproxy.wire import heads

#: What it is made of, by the names of their packages; and what some words of the configuration need.
LIBRARIES = ("Twisted", "pyOpenSSL", "cryptography", "service-identity", "attrs", "google-re2", "Jinja2", "xxhash")
OPTIONAL = {"manhole": ("bcrypt",), "spiffe-workload-api": ("grpcio",)}


def _is_compiled() -> bool:
    return not heads.__file__.endswith(".py")


def build() -> str:
    """Returns the version, with a word about a compiled build (setup.py, COMPILED)."""
    return f"{__version__} (compiled)" if _is_compiled() else __version__


def details() -> Iterator[str]:
    """Returns what a report of a fault needs to know beside the version, a line each, in the form of `haproxy -vv`."""
    # The daemon has no other use for these, and the latter loads another OpenSSL.
    import ssl
    import sysconfig

    system = platform.uname()
    yield f"Running on: {system.system} {system.release} {system.version} {system.machine}"
    # Without that word nothing is known: Debian's is optimized by other means.
    optimized = "--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS"))
    how = ", built with profile-guided optimization" if optimized else ""
    yield (
        f"Running with Python version : {platform.python_version()} ({platform.python_implementation()},"
        f" {sys.executable}{how})"
    )
    yield f"Modules that requests pass : {'compiled (mypyc)' if _is_compiled() else 'interpreted'}"
    yield f"Running on OpenSSL version : {SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode('ascii', 'replace')}"
    yield f"OpenSSL of Python's own module ssl, which is not used : {ssl.OPENSSL_VERSION}"
    yield f"C library : {' '.join(platform.libc_ver()) or 'unknown'}"
    yield ""
    yield "Libraries :"
    yield from (f"  {name} {_version_of(name) or 'not found'}" for name in LIBRARIES)
    yield ""
    yield "What is optional :"
    for word, packages in OPTIONAL.items():
        found = [f"{name} {at}" for name in packages if (at := _version_of(name))]
        yield f"  {'+' if len(found) == len(packages) else '-'}{word} ({', '.join(found or packages)})"
    yield ""
    yield f"Feature list : {' '.join(f'+{each}' for each in sorted(FEATURES))}"
    yield "Available polling systems : epoll"
    yield "Available protocols : HTTP/1.1 and TCP, to clients and to servers; the PROXY protocol, versions 1 and 2"
    yield f"Available services : {' '.join(SERVICES)}"
    yield f"Available filters : {' '.join(FILTERS)}"


def _version_of(package: str) -> str:
    """Returns the version of a package that is installed, "" for one that is not."""
    from importlib import metadata  # 0.4 MiB that the daemon has no other use for

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
