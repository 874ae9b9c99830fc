"""What root does by name, before it becomes the daemon's user, in a directory of that user's: nothing that a link there
could lead elsewhere."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from twisted.conch.ssh.keys import Key
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls import dh_groups
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.manholes import new_key
from tests.test_net_tls_server import revocations
from tests.wire import certificates

#: Starts the daemon as `twistd` does, up to where it serves, and notes what was done as root with a whole path below a
#: directory. What is done with a name alone is done in a directory that is held open.
PROGRAM = """
import json, os, sys
from twisted.internet.testing import MemoryReactorClock
from twisted.python import failure, log
import reusedproxy.command, reusedproxy.operators.shell.manhole, twisted.conch.ssh.keys
from reusedproxy.daemon.starting.account import Account
from reusedproxy.daemon.starting.launch import acting_for, log_safely, take_pid_file, unusable
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.supervision.status_file import StatusFile
from reusedproxy.operators.logs.own import OwnLog

folder, uid, found = sys.argv[1], int(sys.argv[2]), []

def note(event, arguments):
    if not event.startswith(("open", "os.", "socket.", "shutil.", "ctypes.dlopen")) or os.geteuid() != 0:
        return
    words = [os.fsdecode(each) for each in arguments if isinstance(each, (str, bytes))]
    if any(folder in each for each in words):
        found.append([event, *words])

class Options(dict):
    parent = None
    def postOptions(self):
        pass

sys.addaudithook(note)
options = Options(uid=uid, gid=None, pidfile=folder + "/pid", logfile=folder + "/log/log", nodaemon=True)
assert unusable(options) == [], unusable(options)
log_safely(options, OwnLog())
options.postOptions()
pid_file = take_pid_file(options)
service = ProxyService(MemoryReactorClock(), [sys.argv[3]], options)
service.assemble(bind=True)
StatusFile(folder + "/status")
options["logger"]()
pid_file.write()
print(json.dumps(found))
"""


class OpensTests(SynchronousTestCase):
    def test_nothing_is_opened_as_root_by_a_whole_path(self) -> None:
        """Certificates and keys, alone, in directories and lists; authorities, revocations, parameters; pages, bodies,
        patterns; sockets; the files of the manhole; the log, pid and status files."""
        if os.geteuid() != 0:
            raise SkipTest("only root could be led anywhere")
        directory = temporary_directory(self)
        directory.chmod(0o755)
        folder, user = directory / "theirs", pwd.getpwnam("nobody")
        folder.mkdir()
        for name in ("crt", "ca", "log"):
            (folder / name).mkdir()
        ours = certificates()
        crt, authority = Path(ours.crt).read_bytes(), ours.authority.certificate_pem
        key: Key = new_key()
        for name, content in {
            "a.pem": crt,
            "crt/b.pem": crt,
            "list": f"{folder}/a.pem\n".encode(),
            "ca.pem": authority,
            "ca/ca.pem": authority,
            "crl.pem": revocations(ours.authority),
            "dh.pem": dh_groups.parameters(2048),
            "page": b"HTTP/1.1 503 x\r\nContent-Length: 1\r\n\r\nx",
            "body": b"x",
            "patterns": b"/a\n",
            "keys": key.public().toString("OPENSSH"),
        }.items():
            (folder / name).write_bytes(content)
        for each in (folder, *folder.rglob("*")):
            os.chown(each, user.pw_uid, user.pw_gid)
        configuration = directory / "proxy.cfg"
        configuration.write_text(
            f"global\n ssl-dh-param-file {folder}/dh.pem\n stats socket {folder}/socket mode 600 level admin\n"
            f" manhole {folder}/manhole authorized-keys {folder}/keys host-key {folder}/host-key\n"
            f" log {folder}/log.socket local0\n"
            "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
            f"frontend f\n bind {folder}/frontend mode 666\n"
            f" bind {LOOPBACK}:0 ssl crt {folder}/a.pem crt {folder}/crt crt-list {folder}/list"
            f" verify optional ca-file {folder}/ca crl-file {folder}/crl.pem\n"
            f" errorfile 503 {folder}/page\n acl a path -f {folder}/patterns\n http-request deny if a\n"
            f" http-request return status 200 content-type text/plain file {folder}/body if {{ path /b }}\n"
            " default_backend b\nbackend b\n"
            f" server s {LOOPBACK}:1 ssl verify required ca-file {folder}/ca.pem crt {folder}/a.pem verifyhost a\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder), str(user.pw_uid), str(configuration)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout.splitlines()[-1]), [])
        self.assertTrue((folder / "host-key").exists())
