"""Shows and replaces the certificates of listeners and servers: `show|set|commit|abort ssl cert`, and their lists.
Texts are HAProxy's.

What is set is held in one transaction, of one certificate, until it is committed; then the service turns to it as
`ssl-watch` turns to changed files: at once everywhere, or nowhere. It must never know how.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from reusedproxy.net.tls.svid import SPIFFE
from reusedproxy.operators.runtime.authorities import described, one_line
from reusedproxy.operators.runtime.proxy import BUSY, Context, Refusal, Transaction
from reusedproxy.operators.view.certificates import CertificateInUse, certificates_in_use, crt_lists

#: Lines of a `crt-list` in one piece of an answer.
LINES_AT_ONCE = 200
#: In HAProxy the names of files that belong to a certificate, beside that of its key; they are not used here.
_NOT_SENT = (".ocsp", ".issuer", ".sctl")
_KEY = re.compile(rb"^-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\s.*?^-----END \1-----", re.M | re.S)
_LOCKED = "Operations on certificates are currently locked!"
_NOT_SHOWN = "Can't display the certificate: Not found or the certificate is a bundle!"


def show_ssl_cert(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl cert [[*]<certfile>]`."""
    transaction, used = _ongoing(context), _in_use(context)
    if not words:
        if transaction is not None:
            yield f"# transaction\n*{transaction.name}\n"
        yield "# filename\n" + "".join(f"{name}\n" for name in used)
        return
    name = words[0].removeprefix("*")
    if words[0].startswith("*"):
        if transaction is None or transaction.name != name:
            raise Refusal(_NOT_SHOWN)
        content, status = transaction.content, "Uncommitted"
    else:
        if name not in used:
            raise Refusal(_NOT_SHOWN)
        content, status = _content_of(context, used[name]), "Used"
    yield f"Filename: {words[0]}\nStatus: {status}\n"
    shown = _certificates(content)
    if shown:
        yield described(shown[0])
    for each in shown[1:]:
        yield f"Chain Subject: {one_line(each.subject)}\nChain Issuer: {one_line(each.issuer)}\n"
    yield "OCSP Response Key: \n"


def show_ssl_crt_list(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl crt-list [-n] [<list>]`."""
    numbered = words[:1] == ["-n"]
    asked = words[1:2] if numbered else words[:1]
    if numbered and not asked:
        raise Refusal("'show ssl crt-list -n' expects a filename or a directory")
    lists = crt_lists(context.proxy, context.proxy.configuration.global_.stored_certificates)
    if not asked:
        yield "".join(f"{path}\n" for path in lists)
        return
    path = asked[0].rstrip("/")
    if path not in lists:
        raise Refusal("didn't find the specified filename")
    yield f"# {path}\n"
    lines = iter(lists[path])
    while some := [*islice(lines, LINES_AT_ONCE)]:
        yield "".join(
            f"{each.name}{f':{each.line}' if numbered else ''}{f' [{each.options}]' if each.options else ''}"
            f"{''.join(f' {name}' for name in each.names)}\n"
            for each in some
        )


def set_ssl_cert(context: Context, words: Sequence[str]) -> str:
    """Does `set ssl cert <certfile> <<`, or `<certfile>.key` for its key alone."""
    if not words or context.payload is None:
        raise Refusal("'set ssl cert' expects a filename and a certificate as a payload")
    said, payload = words[0], context.payload.encode()
    failed = f"Can't update {said}!"
    if said.endswith(_NOT_SENT):
        raise Refusal(f"No OCSP responses, issuers of them or timestamps are sent to clients.\n{failed}")
    name = said.removesuffix(".key")
    if name == SPIFFE:
        raise Refusal(f"It comes from the agent of 'spiffe-workload-api', which renews it.\n{failed}")
    ongoing, used = _ongoing(context), _in_use(context)
    if ongoing is not None and ongoing.committing:
        raise Refusal(f"Can't update the certificate!\n{_LOCKED}\n{failed}")
    # The key of a.crt may stand in a.key.
    names = [name] if said == name else [name, f"{name}.crt"]
    if ongoing is not None and ongoing.name not in names:
        raise Refusal(f"The ongoing transaction is about '{ongoing.name}' but you are trying to set '{name}'\n{failed}")
    found = next((used[each] for each in names if each in used), None)
    if ongoing is None and found is None:
        raise Refusal(f"Can't replace a certificate which is not referenced by the configuration!\n{failed}")
    if said == name:
        if not _certificates(payload):
            raise Refusal(f"unable to load certificate from file '{name}'.\nCan't load the payload\n{failed}")
        content, key = payload, _key_in(payload)
    else:
        content = ongoing.content if ongoing is not None else _content_of(context, found)
        key = _key_in(payload)
        if key is None:
            raise Refusal(f"unable to load private key from file '{name}'.\nCan't load the payload\n{failed}")
    if ongoing is not None:
        ongoing.content, ongoing.key = content, key
        return f"Transaction updated for certificate {ongoing.name}!\n"
    assert found is not None
    context.service.transaction = Transaction(
        found.name, found.path, found.key_path, context.proxy.configuration, content, key
    )
    return f"Transaction created for certificate {found.name}!\n"


def commit_ssl_cert(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `commit ssl cert <certfile>`."""
    if not words:
        raise Refusal("'commit ssl cert' expects a filename")
    ongoing, failed = _ongoing(context), f"Can't commit {words[0]}!"
    if ongoing is None:
        raise Refusal(f"No ongoing transaction! !\n{failed}")
    if ongoing.name != words[0]:
        about = f"The ongoing transaction is about '{ongoing.name}' but you are trying to set '{words[0]}'"
        raise Refusal(f"{about}\n{failed}")
    if ongoing.key is None:
        raise Refusal(f"The transaction must contain at least a certificate and a private key!\n{failed}")
    if not _belongs(ongoing.key, _certificates(ongoing.content)[0]):
        raise Refusal(f"inconsistencies between private key and certificate loaded '{ongoing.name}'.\n{failed}")
    used = _in_use(context).get(ongoing.name)
    over: list[Sequence[str]] = []

    def done(wrong: Sequence[str]) -> None:
        over.append(wrong)
        if context.service.transaction is ongoing:
            context.service.transaction = None
        context.wake()

    if ongoing.committing or not context.service.commit_certificate(ongoing, done):
        raise Refusal(f"Can't commit the certificate!\n{_LOCKED}\n{failed}")
    ongoing.committing = True
    yield f"Committing {ongoing.name}"
    if not over:
        yield BUSY
    if not over:
        yield "\nThe log says how it ends.\n"
    elif over[0]:
        yield "".join(("\n", *(f"{each}\n" for each in over[0]), "Failed!\n"))
    else:
        yield f"{'.' * (0 if used is None else used.uses)}\nSuccess!\n"


def abort_ssl_cert(context: Context, words: Sequence[str]) -> str:
    """Does `abort ssl cert <certfile>`."""
    if not words:
        raise Refusal("'abort ssl cert' expects a filename")
    ongoing, name = _ongoing(context), words[0]
    if ongoing is None:
        raise Refusal("No ongoing transaction!")
    if ongoing.committing:
        raise Refusal(f"Can't abort!\n{_LOCKED}")
    if ongoing.name != name:
        about = f"The ongoing transaction is about '{ongoing.name}'"
        raise Refusal(f"{about} but you are trying to abort a transaction for '{name}'")
    context.service.transaction = None
    return f"Transaction aborted for certificate '{name}'!\n"


def _ongoing(context: Context) -> Transaction | None:
    """Returns the ongoing transaction. A reload of the configuration has ended one that began before it."""
    found = context.service.transaction
    # Servers that are added leave the section `global` what it is; a reload reads another one.
    if found is not None and found.configuration.global_ is not context.proxy.configuration.global_:
        context.service.transaction = found = None
    return found


def _in_use(context: Context) -> dict[str, CertificateInUse]:
    return certificates_in_use(context.proxy, context.proxy.configuration.global_.stored_certificates)


def _content_of(context: Context, used: CertificateInUse | None) -> bytes:
    return b"" if used is None else context.proxy.trusts.contents.get((used.path, used.key_path), b"")


def _certificates(content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        return []


def _key_in(content: bytes) -> bytes | None:
    """Returns the first private key, in PEM; None if there is none that can be read without a passphrase."""
    found = _KEY.search(content)
    if found is None:
        return None
    try:
        load_pem_private_key(found[0], None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return None
    return found[0] + b"\n"


def _belongs(key: bytes, certificate: x509.Certificate) -> bool:
    try:
        private = load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
        halves = (private.public_key(), certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return False
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return halves[0].public_bytes(*form) == halves[1].public_bytes(*form)
