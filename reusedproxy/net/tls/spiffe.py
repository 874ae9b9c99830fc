"""Decides whether a certificate is that of a workload, by its SPIFFE ID (X509-SVID standard, sections 2, 4 and 5.2).

The chain is verified by others. It must never know a connection.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from reusedproxy.net.tls.words import UNREADABLE, certificate_words, printable, several


def why_not_spiffe(certificate: x509.Certificate, wanted: Sequence[str]) -> str:
    """Returns why a certificate is none of a workload with one of these IDs, "" if it is. One that ends in /* stands
    for all below it."""
    shown = certificate_words(certificate, names=False)
    try:
        found = _uris(certificate)
        authority = _may_sign(certificate)
    except UNREADABLE:
        return f"the certificate's names or uses cannot be read ({shown})"
    if len(found) != 1:
        count = f"{len(found)} URIs: {several(found, ', ')}" if found else "no URI"
        return f"the certificate is no SPIFFE SVID: it has {count} among its names, and must have one ({shown})"
    if authority:
        return f"the certificate is no workload's: it may sign others ({shown})"
    if any(_is(found[0], each) for each in wanted):
        return ""
    return f"the certificate is not for {several([*wanted], ' or ')}, it is for {printable(found[0])} ({shown})"


def _is(found: str, wanted: str) -> bool:
    """Compares byte by byte, as the standard has it: an ID has one spelling. What is below has a path of its own."""
    if not wanted.endswith("/*"):
        return found == wanted
    return found.startswith(wanted[:-1]) and len(found) > len(wanted) - 1


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _may_sign(certificate: x509.Certificate) -> bool:
    """Tells whether this is the certificate of a CA, which says nothing of who shows it."""
    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return True
    except x509.ExtensionNotFound:
        pass
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return usage.key_cert_sign or usage.crl_sign
