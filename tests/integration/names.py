"""A name server and web servers at several loopback addresses, in threads of the test's process."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from twisted.names import dns

from tests.nameserver import NameServer, Zone


class NameServerThread:
    """Answers from `zone` over UDP, and over TCP with `stream`, at a port of its own."""

    def __init__(self, host: str = "127.0.0.1", stream: bool = False) -> None:
        self.zone = Zone()
        self._server = NameServer(self.zone)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        if stream:
            self._socket.listen()
        self._thread = threading.Thread(target=self._serve_streams if stream else self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # UDP is not connected, and wakes up all the same
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        protocol = dns.DNSDatagramProtocol(self._server)
        protocol.startProtocol()
        protocol.transport = self  # type: ignore[assignment]
        while True:
            try:
                data, address = self._socket.recvfrom(65535)
            except OSError:
                return
            if not data:
                return
            protocol.datagramReceived(data, address)

    def write(self, data: bytes, address: Any) -> None:
        self._socket.sendto(data, address)

    def _serve_streams(self) -> None:
        while True:
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve_stream, args=(connected,), daemon=True).start()

    def _serve_stream(self, connected: socket.socket) -> None:
        class Transport:
            def write(self, data: bytes, address: object = None) -> None:
                connected.sendall(struct.pack("!H", len(data)) + data)

        protocol = dns.DNSDatagramProtocol(self._server)
        protocol.startProtocol()
        protocol.transport = Transport()  # type: ignore[assignment]
        file = connected.makefile("rb")
        while len(head := file.read(2)) == 2:
            protocol.datagramReceived(file.read(int.from_bytes(head, "big")), ("", 0))


class _Handler(BaseHTTPRequestHandler):
    #: Head and body go out together. Apart, the second would wait for the first one's acknowledgement, 40 ms, and a
    #: reload in between would meet an answer whose head has promised that the connection stays.
    wbufsize = -1
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host: str = self.server.host  # type: ignore[attr-defined]
        body = host.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.served += 1  # type: ignore[attr-defined]

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


class WebServer(ThreadingHTTPServer):
    """Answers with its own address. `served` counts its requests, `connections` what it has accepted."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None = None) -> None:
        """Speaks TLS with a `context`."""
        self.host = host
        self.served = self.connections = 0
        super().__init__((host, port), _Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: clients may leave at any time."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
