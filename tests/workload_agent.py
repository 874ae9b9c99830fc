"""A SPIFFE agent for tests: the Workload API's FetchX509SVID at a unix socket, in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reusedproxy.demo.certificates import Authority, Credential

try:
    import grpc
except ImportError:
    grpc = None

#: Why such tests are skipped; None: they are not.
why_not_grpc = None if grpc is not None else 'gRPC is not installed: pip install "reusedproxy[spiffe]"'


def field(number: int, content: bytes) -> bytes:
    """A field with a length, in the wire format of protocol buffers."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def answer_with(credential: Credential, *authorities: Authority, name: str = "spiffe://example.org/proxy") -> bytes:
    """An X509SVIDResponse with one SVID, after which a hint and federated bundles come, as in SPIRE's."""
    der = Encoding.DER
    key = credential.key.private_bytes(der, PrivateFormat.PKCS8, NoEncryption())
    bundle = b"".join(each.credential.certificate.public_bytes(der) for each in authorities)
    svid = field(1, name.encode()) + field(2, credential.certificate.public_bytes(der)) + field(3, key)
    svid += field(4, bundle) + field(5, b"internal")
    return field(1, svid) + field(3, field(1, b"spiffe://other.org") + field(2, bundle))


class Agent:
    """Sends what `give` was called with last to everybody who asks, and each later one at once.

    `asked` counts the streams. Without the header that the standard demands, a stream is refused.
    """

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.asked = 0
        self._answer = b""
        self._changed = threading.Condition()
        self._over = False
        self._threads = ThreadPoolExecutor(4)
        self._server = grpc.server(self._threads)
        handler = grpc.unary_stream_rpc_method_handler(self._stream)
        methods = grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchX509SVID": handler})
        self._server.add_generic_rpc_handlers((methods,))
        self._server.add_insecure_port(self.address)
        self._server.start()

    def give(self, answer: bytes) -> None:
        with self._changed:
            self._answer = answer
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends all streams, and closes the socket."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._server.stop(None).wait(10)
        self._threads.shutdown()

    def _stream(self, request: bytes, context: Any) -> Iterator[bytes]:
        if ("workload.spiffe.io", "true") not in [tuple(each) for each in context.invocation_metadata()]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        said = b""
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
            while not self._over and context.is_active():
                if self._answer == said:
                    self._changed.wait(0.2)
                    continue
                said = self._answer
                yield said
