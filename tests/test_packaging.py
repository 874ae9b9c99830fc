"""What packages are made with: debian/, the Containerfile, examples for Kubernetes, and how they fit the rest."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__

ROOT = Path(__file__).parents[1]


class DebianTests(SynchronousTestCase):
    """debian/, which `make deb` uses."""

    def test_its_version_is_the_programs(self) -> None:
        first = (ROOT / "debian/changelog").read_text().splitlines()[0]
        self.assertEqual(f"reusedproxy ({__version__})", first.partition(" unstable")[0])

    def test_what_it_edits_is_there(self) -> None:
        """rules changes lines of files in etc/ by their text: where one is written in another way, it would not."""
        sample = (ROOT / "etc/reusedproxy.cfg").read_text()
        self.assertEqual(1, sample.count("# stats socket /run/reusedproxy/admin.sock"))
        for name in ("etc/init.d/reusedproxy", "etc/default/reusedproxy"):
            self.assertEqual(1, len(re.findall("(?m)^#?TWISTD=twistd$", (ROOT / name).read_text())), name)
        unit = (ROOT / "etc/systemd/reusedproxy.service").read_text()
        commands = re.findall("(?m)^Exec.*$", unit)
        self.assertEqual([], [line for line in commands if not re.match("Exec[A-Za-z]*=twistd ", line)])
