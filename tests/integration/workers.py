"""Application servers as users run them, over TLS that demands client certificates: gunicorn, and Node's https server.

Both answer any method with the number of the connection's request, if they know it, and write nothing unless something
is wrong. It knows the programs; what is true is for the tests to say.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from reusedproxy.demo.certificates import Authority, Credential
from tests.integration.peers import LOOPBACK, Process, accepts_connections, find_program, wait_for
from tests.ports import free_port

#: Answers carry their length: without one a sync worker would answer until the end of the connection.
_APPLICATION = """\
def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = environ["REQUEST_METHOD"].encode() + b" " + body
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]
"""

_NODE = """\
const fs = require("fs"), https = require("https");
const [port, host] = process.argv.slice(2);
const options = {cert: fs.readFileSync("server.pem"), key: fs.readFileSync("server.pem"), ca: fs.readFileSync("ca.pem"),
                 requestCert: true, rejectUnauthorized: true};
https.createServer(options, (request, response) => {
    let body = "";
    request.on("data", (data) => { body += data; });
    request.on("end", () => response.end(request.method + " " + body));
}).listen(Number(port), host);
"""


def missing_gunicorn() -> str:
    """Why gunicorn cannot run, in words for C{skip}."""
    return "" if find_spec("gunicorn") else "gunicorn not installed: pip install --group test"


def missing_node() -> str:
    """Why Node cannot run, in words for C{skip}."""
    return "" if find_program("node") else "node not installed: apt-get install nodejs"


class Application:
    """One such server in a directory of its own.

    @ivar port: where it serves TLS.
    """

    def __init__(self, directory: Path, authority: Authority, server: Credential) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._directory = directory
        self._process = Process(directory)
        authority.write(directory / "ca.pem")
        server.write(directory / "server.pem")

    def gunicorn(self, *arguments: str) -> None:
        """Run gunicorn with `arguments` about its workers."""
        (self._directory / "application.py").write_text(_APPLICATION)
        tls = ["--certfile", "server.pem", "--keyfile", "server.pem", "--ca-certs", "ca.pem", "--cert-reqs", "2"]
        where = ["--bind", f"{LOOPBACK}:{self.port}", "--no-control-socket"]
        self._start([sys.executable, "-m", "gunicorn", *where, *tls, *arguments, "application:application"])

    def node(self) -> None:
        """Run Node's https server with the time-outs that it has."""
        (self._directory / "server.js").write_text(_NODE)
        self._start([find_program("node") or "node", "server.js", str(self.port), LOOPBACK])

    def _start(self, command: list[str]) -> None:
        self._process.spawn(command)

        def accepts() -> bool:
            if self._process.died():
                raise AssertionError(f"{command[0]} did not start: {self.output}")
            return accepts_connections(self.port)

        wait_for(accepts, "the application server to accept")

    @property
    def output(self) -> str:
        return self._process.output

    def stop(self) -> None:
        """Safe to call twice."""
        self._process.stop()
