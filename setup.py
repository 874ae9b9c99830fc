"""Metadata of reusedproxy; each dependency stands beside the reason why it is there."""

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup  # type: ignore[import-untyped]

HERE = Path(__file__).parent
EXAMPLES = "share/doc/reusedproxy/examples"
(VERSION,) = re.findall(r'^__version__ = "(.+)"$', (HERE / "reusedproxy/__init__.py").read_text(), re.M)

setup(
    name="reusedproxy",
    version=VERSION,
    description="An HTTP reverse proxy that keeps warm, verified, mutual-TLS connections to its servers",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license_expression="MIT",
    python_requires=">=3.10",
    install_requires=[
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
        # certificates in words and of the demonstration; pyOpenSSL needs it, too (47: curves by name)
        "cryptography>=47",
    ],
    extras_require={
        "manhole": ["Twisted[conch]"],  # SSH for the manhole
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
        *((f"{EXAMPLES}/{directory}", glob(f"etc/{directory}/*")) for directory in ("default", "init.d", "systemd")),
        (EXAMPLES, glob("etc/examples/*.cfg")),
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
)
