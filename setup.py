"""Metadata of reusedproxy; each dependency stands beside the reason why it is there.

With REUSEDPROXY_COMPILE=1 in the environment, mypyc makes C of the modules in COMPILED; docs/decisions/13-compiled.md
says what that gives and what it costs. Without it nothing is compiled, and no compiler is needed.
"""

import os
import re
import shutil
import sys
import sysconfig
from glob import glob
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup  # type: ignore[import-untyped]

HERE = Path(__file__).parent
EXAMPLES = "share/doc/reusedproxy/examples"
#: Folders of etc/ that go there as they are.
ETC = ("default", "grafana", "init.d", "kubernetes", "logrotate.d", "prometheus", "systemd")
(VERSION,) = re.findall(r'^__version__ = "(.+)"$', (HERE / "reusedproxy/__init__.py").read_text(), re.M)

DEPENDENCIES = [
    "Twisted>=24.10",  # the reactor, services, plugins, logging and DNS messages that the daemon is made of
    # TLS on the socket itself, with sessions and verification callbacks; bounded above since net/tls/openssl.py
    # calls what has no public name (and does without where it is not what it was)
    "pyOpenSSL>=26.1,<28",
    "service-identity>=24.1",  # is this certificate for that name? (RFC 6125, RFC 9525)
    "attrs>=23.1",  # values and records
    # regular expressions of rules, in time linear in what a client sends; wheels for 3.10 to 3.13
    "google-re2>=1.1",
    # Hashes of crypt(3) need nothing of PyPI's: net/passwords.py calls the system's libcrypt, as HAProxy does.
    # crypt-r keeps the interpreter's lock while it hashes, which stops the event loop; legacycrypt was last
    # published in 2019; libpass knows no yescrypt, Debian's own, and hashes in Python.
    # the statistics page: templates that escape what they are given (names, servers' answers) by themselves
    "Jinja2>=3.1",
    # the converters xxh32, xxh64 and xxh3, and `hash-key`
    "xxhash>=3.1",
    # certificates in words and of the demonstration; pyOpenSSL needs it, too (47: curves by name)
    "cryptography>=47",
]

#: What each request passes, so that nearly all of its calls stay between compiled modules. Classes of attrs stay
#: interpreted, and with them the modules that are mostly made of these.
COMPILED = (
    *("measures/traffic", "measures/times", "wire/grammar", "wire/heads"),
    *("net/transport", "net/poller", "net/deadlines"),
    *("net/tls/transport", "net/tls/client_transport", "net/tls/server_transport"),
    *("pool/connection", "pool/owner", "pool/served", "pool/unfinished", "pool/holdings", "pool/upkeep", "pool/refill"),
    *("pool/pool", "pool/constant", "pool/raw", "pool/learning/depth", "pool/learning/patience"),
    "pool/simulation/transport",  # it is a transport
    *("tables/table", "tables/entries", "tables/tracking", "tables/limiting"),
    *("rules/limits", "rules/ahead", "rules/guards", "rules/matching", "rules/rule_set"),
    *("backends/backend", "backends/places", "backends/server", "backends/balance/round_robin"),
    *("exchanges/client", "exchanges/exchange", "exchanges/facts", "exchanges/attempt", "exchanges/failures"),
    *("exchanges/route", "exchanges/hedged", "exchanges/routing", "exchanges/request_rules", "exchanges/counting"),
    *("streams/facts", "streams/stream", "sessions/client", "sessions/facts", "sessions/retries"),
    *("clients/connection", "clients/frontend", "clients/owner", "clients/pending", "clients/switched"),
    "clients/connection_limit",
    *("operators/logs/access", "operators/logs/gathering", "operators/logs/targets", "operators/logs/sinks"),
)
#: mypyc translates what mypy understands: with the versions, the plugin and the types that `make lint` uses.
COMPILER = ["mypy~=2.4.1", "mypy-zope~=1.0.17", *DEPENDENCIES]


def compiled() -> dict[str, Any]:
    """Returns what setup is told in addition if the environment asks for a compiled build."""
    if os.environ.get("REUSEDPROXY_COMPILE", "0") in ("", "0"):
        return {}
    if {"egg_info", "dist_info", "sdist"} & set(sys.argv):
        return {"setup_requires": COMPILER}  # what pip asks for before it has installed it
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    header = Path(sysconfig.get_path("include"), "Python.h")
    if shutil.which(compiler) is None:
        sys.exit(f"REUSEDPROXY_COMPILE needs the C compiler {compiler} (apt-get install gcc); without it, unset that.")
    if not header.exists():
        sys.exit(f"REUSEDPROXY_COMPILE needs {header} (apt-get install python3-dev); without it, unset that.")
    try:
        from mypyc.build import mypycify
    except ImportError:
        sys.exit(
            f"REUSEDPROXY_COMPILE needs, where pip may install nothing by itself: pip install {' '.join(COMPILER)}"
        )
    modules = [f"reusedproxy/{module}.py" for module in COMPILED]
    python = f"--python-version={sys.version_info[0]}.{sys.version_info[1]}"
    extensions = mypycify([python, *modules], opt_level="3", debug_level="0", group_name="reusedproxy")
    return {"ext_modules": extensions}


setup(
    name="reusedproxy",
    version=VERSION,
    description="An HTTP reverse proxy that keeps warm, verified, mutual-TLS connections to its servers",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    python_requires=">=3.10",
    install_requires=DEPENDENCIES,
    extras_require={
        "manhole": ["Twisted[conch]"],  # SSH for the manhole
        "spiffe": ["grpcio>=1.66"],  # asks a SPIFFE agent for our certificate
    },
    packages=[
        *find_packages(include=["reusedproxy", "reusedproxy.*"]),
        # Discovery never finds it: it has no __init__.py, so that Twisted's own package stays whole.
        "twisted.plugins",
    ],
    entry_points={"console_scripts": ["reusedproxy = reusedproxy.__main__:main"]},
    # Without this, an editable install is an import hook that `twist` does not see plugins through.
    package_dir={"": "."},
    include_package_data=True,
    package_data={
        "reusedproxy": ["py.typed"],
        "reusedproxy.operators.stats.templates": ["*.html", "*.css"],
    },
    data_files=[
        ("share/man/man8", glob("man/*.8")),
        ("share/man/man5", glob("man/*.5")),
        (EXAMPLES, glob("etc/*.cfg")),
        *((f"{EXAMPLES}/{directory}", glob(f"etc/{directory}/*")) for directory in ETC),
        (EXAMPLES, [*glob("etc/examples/*.cfg"), *glob("examples/*.cfg")]),
    ],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Twisted",
        "Intended Audience :: System Administrators",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Internet :: Proxy Servers",
    ],
    **compiled(),
)
