"""The PROXY protocol with real peers: curl and HAProxy in front of us, HAProxy and nginx behind."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from reusedproxy.demo.certificates import Authority
from reusedproxy.wire.proxy_protocol import ProxyHeader, read_proxy_header
from tests.integration.beside import HOST, HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import (
    LOOPBACK,
    accept_each,
    end_accepting,
    missing,
    run_curl,
    temporary_directory,
    wait_for,
)
from tests.integration.test_main_job import NAME, MainJobTestCase
from tests.integration.test_words_beside_haproxy import GET, WordsTestCase
from tests.ports import free_port, free_ports
from tests.wire import certificates


class AcceptTests(MainJobTestCase):
    """`bind … accept-proxy`, in the clear and before TLS."""

    def test_curl_and_haproxy_say_who_asks(self) -> None:
        """Version 1 by curl, version 2 by HAProxy; the access log and X-Forwarded-For have their client."""
        server = self.nginx()
        server.start()
        Authority("front CA").issue(NAME, hosts=[NAME]).write(self.directory / "front.pem")
        plain, secure, front = free_port(), free_port(), free_port()
        proxy = self.daemon(
            f"    bind {LOOPBACK}:{plain} accept-proxy\n"
            f"    bind {LOOPBACK}:{secure} accept-proxy ssl crt {self.directory}/front.pem\n"
            "backend servers\n" + self.server_line(server.port)
        )
        proxy.start()
        for url in (f"http://{LOOPBACK}:{plain}/one", f"https://{LOOPBACK}:{secure}/two"):
            found = run_curl("-k", "--haproxy-protocol", "--interface", "127.0.0.8", url)
            self.assertEqual(found.status, 200, found.error)

        def logged(path: str) -> bool:
            return bool(re.search(rf"^127\.0\.0\.8:\d+ .*/{path}", proxy.output, re.M))

        for path in ("one", "two"):
            wait_for(partial(logged, path), "the log")
        haproxy = HAProxy(
            self.directory / "haproxy",
            f"backend servers\nfrontend front\n    bind {LOOPBACK}:{front}\n    default_backend ours\n"
            f"backend ours\n    server ours {LOOPBACK}:{plain} send-proxy-v2\n",
        )
        self.addCleanup(haproxy.stop)
        haproxy.start()
        self.assertEqual(run_curl("--interface", "127.0.0.9", f"http://{LOOPBACK}:{front}/three").status, 200)
        wait_for(
            lambda: re.search(r"^127\.0\.0\.9:\d+ .*/three", proxy.output, re.M), "the client's address in the log"
        )
        bare = HTTPConnection(LOOPBACK, plain, timeout=10)
        bare.request("GET", "/bare")
        self.assertRaises((HTTPException, ConnectionError), bare.getresponse)
        bare.close()
        wait_for(lambda: "does not begin with a PROXY protocol header" in proxy.output, "the reason")
        self.assertNotIn("/bare", str(server.access_log()))

    def test_only_some_may_speak_for_others(self) -> None:
        """`tcp-request connection expect-proxy`: who comes from elsewhere is taken for itself, header or none."""
        server = self.nginx()
        server.start()
        port = free_port()
        rule = "tcp-request connection expect-proxy layer4 if { src 127.0.0.8 }"
        proxy = self.daemon(
            f"    bind {LOOPBACK}:{port}\n    {rule}\nbackend servers\n" + self.server_line(server.port)
        )
        proxy.start()
        url = f"http://{LOOPBACK}:{port}/"
        asked = [("127.0.0.8", True, 200), ("127.0.0.7", False, 200), ("127.0.0.7", True, 400)]
        for interface, speaks, status in asked:
            said = ["--haproxy-protocol"] if speaks else []
            self.assertEqual(run_curl(*said, "--interface", interface, url).status, status, (interface, speaks))


class SendTests(MainJobTestCase):
    """`server … send-proxy` and `send-proxy-v2`."""

    skip = missing("haproxy", "curl", "nginx") or None

    def test_servers_are_told_who_asks(self) -> None:
        """HAProxy behind us, in the clear and over TLS; a client's own connection is its own, and ends with it."""
        plain, secure = free_port(), free_port()
        self.authority.issue(NAME, hosts=[NAME]).write(self.directory / "behind.pem")
        answer = "http-request return status 200 content-type text/plain lf-string %[src]-%[dst_port]-%[ssl_fc]"
        behind = HAProxy(
            self.directory / "haproxy",
            f"backend servers\nfrontend behind\n    bind {LOOPBACK}:{plain} accept-proxy\n"
            f"    bind {LOOPBACK}:{secure} accept-proxy ssl crt {self.directory}/behind.pem"
            f" ca-file {self.directory}/ca.pem verify required\n"
            f"    {answer}\n",
        )
        self.addCleanup(behind.stop)
        behind.start()
        ports = {version: free_port() for version in ("send-proxy", "send-proxy-v2", "tls")}
        text = "".join(
            f"frontend {name}\n    bind {LOOPBACK}:{port}\n    default_backend {name}\n" for name, port in ports.items()
        )
        for version in ("send-proxy", "send-proxy-v2"):
            text += f"backend {version}\n    server one {LOOPBACK}:{plain} {version} check inter 1s\n"
        text += "backend tls\n    option httpchk\n" + self.server_line(secure, "send-proxy-v2 check inter 1s")
        proxy = self.daemon("backend servers\n" + text)
        proxy.start()
        for name, port in ports.items():
            for client in ("127.0.0.5", "127.0.0.6"):
                connection = HTTPConnection(LOOPBACK, port, timeout=10, source_address=(client, 0))
                for _ in range(2):
                    connection.request("GET", "/")
                    said = connection.getresponse().read()
                    self.assertEqual(said, f"{client}-{port}-{int(name == 'tls')}".encode(), name)
                connection.close()

        def says(name: str, column: str, value: str) -> bool:
            return proxy.server("one", name)[column] == value

        for name in ports:
            # Its status alone says nothing: it is UP before its first check.
            passed = "L7OK" if name == "tls" else "L4OK"
            wait_for(partial(says, name, "check_status", passed), f"the checks of {name}")
            row = proxy.server("one", name)
            self.assertEqual(row["status"], "UP", name)
            # Two clients with two requests each: one connection for each client, none kept after them.
            self.assertEqual((row["pool_requests"], row["pool_handshakes"]), ("4", "2"), name)
            wait_for(partial(says, name, "pool_idle", "0"), "no connection to be left")
        self.assertIn("each connection tells for which client it is", proxy.output)
        self.assertNotIn("PROXY protocol header", behind.output)


class Introduced:
    """Answers one request on each connection, and notes the headers of the PROXY protocol."""

    def __init__(self) -> None:
        self.headers: list[ProxyHeader] = []
        self.listening = socket.create_server((HOST, 0))
        self.port: int = self.listening.getsockname()[1]
        accept_each(self.listening, self._serve)

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with connection:
            connection.settimeout(20)
            while (header := read_proxy_header(data)) is None or b"\r\n\r\n" not in data[header.length :]:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            self.headers.append(header)
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    def stop(self) -> None:
        end_accepting(self.listening)


#: Of a client without a certificate: whether one was verified. HAProxy says yes (0), against section 2.2.6.
UNVERIFIED = b"\0\0\0\1"


class OptionsTests(WordsTestCase):
    """What headers of version 2 say besides, beside HAProxy."""

    OPTIONS = (
        "send-proxy-v2",
        "send-proxy-v2-ssl",
        "send-proxy-v2-ssl-cn",
        "proxy-v2-options ssl-cipher,cert-sig send-proxy-v2",
        "send-proxy-v2 proxy-v2-options cert-key,cert-cn",
        "send-proxy-v2 proxy-v2-options authority,crc32c",
        "send-proxy-v2 proxy-v2-options unique-id",
        "send-proxy-v2-ssl-cn send-proxy",
        "send-proxy-v2-ssl-cn no-send-proxy-v2-ssl-cn send-proxy-v2",
        "send-proxy-v2-ssl-cn no-send-proxy-v2-ssl send-proxy-v2",
        "send-proxy-v2 no-send-proxy",
    )

    def tls(self, directory: Path, port: int, *, shows: str = "") -> Callable[[], socket.socket]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        context.set_alpn_protocols(["http/1.1"])
        if shows:
            context.load_cert_chain(directory / shows)
        return lambda: context.wrap_socket(socket.create_connection((HOST, port), 20.0), server_hostname="a.example")

    def test_servers_are_told_the_same(self) -> None:
        """Of clients in the clear, and over TLS without a certificate, with one, and with one that nobody has verified;
        in both modes."""
        directory, made = temporary_directory(self), certificates()
        made.client.write(directory / "client.pem")
        made.stranger.issue("stranger", client=True, key="ecdsa").write(directory / "stranger.pem")
        made.server.write(directory / "server.pem")
        (directory / "ca.pem").write_bytes(made.authority.certificate_pem)
        said: list[list[tuple[bool, dict[int, list[bytes]]]]] = []
        for number, make in enumerate((Daemon, HAProxy)):
            server, text = Introduced(), "backend servers\n"
            self.addCleanup(server.stop)
            ports = free_ports(2 * 2 * len(self.OPTIONS), HOST)
            clients: list[Callable[[], socket.socket]] = []
            for at, options in enumerate([*self.OPTIONS, *self.OPTIONS]):
                plain, secure = ports[2 * at : 2 * at + 2]
                text += (
                    f"listen l{at}\n mode {'tcp' if at < len(self.OPTIONS) else 'http'}\n unique-id-format id-%[src]\n"
                    f" bind {HOST}:{plain}\n bind {HOST}:{secure} ssl crt {directory}/server.pem"
                    f" ca-file {directory}/ca.pem verify optional ca-ignore-err all crt-ignore-err all alpn http/1.1\n"
                    f" server s {HOST}:{server.port} {options}\n"
                )
                clients.append(partial(socket.create_connection, (HOST, plain), 20.0))
                clients += (self.tls(directory, secure, shows=shows) for shows in ("", "client.pem", "stranger.pem"))
            daemon = make(directory / str(number), text)
            self.addCleanup(daemon.stop)
            daemon.start()
            outcome = []
            for connect in clients:
                with connect() as client:
                    client.sendall(GET)
                    self.assertIn(b"200 OK", client.recv(4096))
                (header,) = server.headers
                server.headers.clear()
                outcome.append((header.source is not None, {kind: [*each] for kind, each in header.values.items()}))
            said.append(outcome)
            daemon.stop()
        ours, theirs = said
        for at, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            case = ([*self.OPTIONS, *self.OPTIONS][at // 4], at % 4)
            values = one[1]
            if 0x20 in values and at % 4 < 2:
                (about,) = values[0x20]
                self.assertEqual(about[1:5], UNVERIFIED, case)
                values[0x20] = [about[:1] + bytes(4) + about[5:]]
            elif 0x20 in values:
                self.assertEqual(any(values[0x20][0][1:5]), at % 4 == 3, case)
            values.pop(3, None)  # it is a checksum of its own header, which was checked
            self.assertEqual(3 in other[1], "crc32c" in case[0], case)
            other[1].pop(3, None)
            self.assertEqual(one, other, case)

    def test_each_reads_what_the_other_says(self) -> None:
        """`fc_pp_authority` and `fc_pp_unique_id` behind each of them; a unique ID is that of each request, so that no
        connection serves two."""
        for front, behind in ((Daemon, HAProxy), (HAProxy, Daemon)):
            directory, made = temporary_directory(self), certificates()
            made.server.write(directory / "server.pem")
            made.client.write(directory / "client.pem")
            inner, secure = free_ports(2, HOST)
            reader = behind(
                directory / "behind",
                f"backend servers\nfrontend in\n bind {HOST}:{inner} accept-proxy\n"
                " http-request return status 200 content-type text/plain lf-string"
                " <%[fc_pp_authority]><%[fc_pp_unique_id]>\n",
            )
            writer = front(
                directory / "front",
                f"backend servers\nlisten l\n unique-id-format %[path]\n bind {HOST}:{secure} ssl crt"
                f" {directory}/server.pem\n server s {HOST}:{inner} send-proxy-v2"
                " proxy-v2-options authority,unique-id,crc32c,cert-cn\n",
            )
            for daemon in (reader, writer):
                self.addCleanup(daemon.stop)
                daemon.start()
            with self.tls(directory, secure)() as client:
                for path in (b"/a", b"/b"):
                    client.sendall(GET.replace(b"/a ", path + b" "))
                    answer = client.recv(4096)
                    self.assertTrue(answer.endswith(b"<a.example><" + path + b">"), answer)
                if front is Daemon:  # and none is kept, though the client is still there
                    self.assertEqual(writer.server("s", "l")["pool_handshakes"], "2")
                    wait_for(lambda: writer.server("s", "l")["pool_idle"] == "0", "no connection to be left")  # noqa: B023
            for daemon in (writer, reader):
                daemon.stop()
