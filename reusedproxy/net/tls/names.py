"""Decides whether a server's certificate is for a name (RFC 9525), and says why a name in it does not count.

service_identity compares the names. It refuses a whole certificate for one name that it does not like; here, as RFC
9525 has it (section 6), such a name is ignored and the others count.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from itertools import islice

from cryptography import x509
from service_identity import CertificateError
from service_identity.hazmat import DNS_ID, DNSPattern

from reusedproxy.net.tls.words import UNREADABLE

#: The characters of host names, as they stand in certificates (RFC 5280 section 4.2.1.6), and of wildcards.
_NAME = re.compile(r"[A-Za-z0-9_.*-]+")
#: The most wildcards of a certificate that are looked at to say why none counts.
LOOKED_AT = 100


def is_address(name: str) -> bool:
    """Tells whether a name is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_for(certificate: x509.Certificate, name: str) -> bool:
    """Tells whether a certificate is for `name`, a host name or an address. One that cannot be read is for none."""
    try:
        carried = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if is_address(name):
            return ip_address(name) in carried.get_values_for_type(x509.IPAddress)
        names = carried.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False
    wanted = DNS_ID(name)
    patterns = [pattern for each in _alike(names, wanted) if (pattern := _pattern(each)) is not None]
    return any(wanted.verify(pattern) for pattern in patterns) or _is_below(name, patterns)


def why_not(certificate: x509.Certificate, name: str) -> str:
    """Returns why a name that looks right in a certificate does not count, "" where there is none.

    Those are common names, wildcards in other places than RFC 9525 allows them, and addresses that stand as names.
    """
    try:
        carried = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [each.lower() for each in carried.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        return "; a common name does not count (RFC 9525): it needs a subjectAltName"
    except UNREADABLE:
        return ""
    if is_address(name):
        uncounted, why = (
            name in names,
            "an address counts as an IP address among the names (RFC 9525), not as a DNS name",
        )
    else:
        wildcards = islice((each for each in names if "*" in each), LOOKED_AT)
        uncounted = any(each[:2] != "*." or _pattern(each) is None for each in wildcards)
        why = "a wildcard counts as the whole first label above two others or more (*.example.com), nowhere else"
    return f"; {why}" if uncounted else ""


def _alike(names: list[str], wanted: DNS_ID) -> set[str]:
    """Returns those of a certificate's names that may be for the wanted one, by their text: itself, and its wildcard.

    A certificate may have 20,000 names, of which patterns would be made for 0.4 s, in the event loop.
    """
    name = wanted.hostname.decode("ascii")
    return {name, f"*.{name.partition('.')[2]}"}.intersection(each.lower() for each in names)


def _pattern(name: str) -> DNSPattern | None:
    """Returns what a name of a certificate matches; None: nothing. service_identity ignores blanks around it."""
    if not _NAME.fullmatch(name):
        return None
    try:
        return DNSPattern.from_bytes(name.encode("utf-8"))
    except CertificateError:
        return None


def _is_below(name: str, patterns: list[DNSPattern]) -> bool:
    """Tells whether a wildcard stands for the first label of an internationalised name.

    service_identity does not let it. RFC 9525 (section 6.3) rules out only wildcards that are a part of such a label;
    as a whole one stands for any, as in OpenSSL and in browsers.
    """
    label, _, domain = name.lower().partition(".")
    wildcard = f"*.{domain}".encode()
    return label.startswith("xn--") and any(pattern.pattern == wildcard for pattern in patterns)
