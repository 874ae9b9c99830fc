"""The PROXY protocol with real peers: curl and HAProxy in front of us, HAProxy and nginx behind."""

from __future__ import annotations

import re
from functools import partial
from http.client import HTTPConnection, HTTPException

from reusedproxy.demo.certificates import Authority
from tests.integration.beside import HAProxy
from tests.integration.peers import LOOPBACK, missing, run_curl, wait_for
from tests.integration.test_main_job import NAME, MainJobTestCase
from tests.ports import free_port


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
