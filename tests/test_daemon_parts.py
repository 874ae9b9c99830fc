"""Parts of the program that only some configurations use: which are loaded when, and what is said if one cannot be."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

from jinja2 import FileSystemLoader, TemplateNotFound
from twisted.trial.unittest import SynchronousTestCase

import reusedproxy
from reusedproxy.daemon import parts
from reusedproxy.daemon.load import Refused, load
from reusedproxy.operators.stats import rendering
from tests.integration.peers import temporary_directory

PACKAGE = Path(reusedproxy.__file__).parent
PLAIN = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend web
    bind 127.0.0.1:1
    default_backend app
backend app
    server one 127.0.0.1:2 pool-min-conn 1
"""
FULL = f"""
global
    stats socket /nowhere/socket
resolvers those
    nameserver one 127.0.0.1:53
{PLAIN}
    stats enable
    http-request use-service prometheus-exporter if {{ path -m reg ^/metrics }}
"""
#: Reads a configuration, and says what is loaded then. Then processes of their own load all, or read another one.
PROGRAM = """
import json, os, sys
import reusedproxy.entry
from reusedproxy.daemon.load import load
from reusedproxy.daemon.parts import load_all

def tell():
    print(json.dumps(sorted(sys.modules)), flush=True)

load([sys.argv[1]])
tell()
for each in (load_all, lambda: load([sys.argv[2]])):
    if os.fork() == 0:
        each()
        tell()
        os._exit(0)
    os.wait()
"""
#: What is imported within functions and is no part: programs of their own and what they print, and what is loaded at
#: the start where a configuration asks for it.
OTHERS = {
    "reusedproxy.command",
    "reusedproxy.operators.version",
    "reusedproxy.daemon.supervision.asking",
    "reusedproxy.daemon.workload.client",
}
AT_START = {"reusedproxy.operators.shell.keys", "reusedproxy.operators.shell.manhole"}


def late_imports(path: Path) -> set[str]:
    """The modules that a file imports within functions."""
    functions = [each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.FunctionDef)]
    found = set()
    for node in (node for function in functions for node in ast.walk(function)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


class PartsTests(SynchronousTestCase):
    def told(self) -> list[set[str]]:
        """The modules of a process that has read the plain configuration, loaded everything, or read the full one."""
        paths = [temporary_directory(self) / name for name in ("plain.cfg", "full.cfg")]
        for path, text in zip(paths, (PLAIN, FULL), strict=True):
            path.write_text(text)
        made = subprocess.run([sys.executable, "-c", PROGRAM, *paths], capture_output=True, text=True, check=True)
        return [set(json.loads(line)) for line in made.stdout.splitlines()]

    def test_a_configuration_loads_what_it_uses_and_all_can_be_loaded_at_once(self) -> None:
        """For a daemon in a chroot, which finds no file of the program any more."""
        plain, everything, full = self.told()
        used = {
            *("re2", "jinja2", "reusedproxy.operators.stats.handler", "reusedproxy.operators.metrics.exporter"),
            *("reusedproxy.operators.runtime.session", "reusedproxy.operators.view.rates"),
        }
        self.assertEqual(used & plain, set())
        self.assertEqual(used - full, set())
        self.assertEqual([each for each in full if each.startswith(("reusedproxy.doctor", "reusedproxy.demo"))], [])
        found = {}
        for path in PACKAGE.rglob("*.py"):
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            if module not in OTHERS and module.split(".")[1] not in ("demo", "doctor", "__main__"):
                found.update(dict.fromkeys(late_imports(path) - AT_START, module))
        self.assertIn("re2", found)
        self.assertEqual({each: module for each, module in found.items() if each not in everything}, {})

    def test_all_templates_of_the_page_are_compiled_with_it(self) -> None:
        """For the same daemon: a reload may add a page."""
        rendering._environment.cache_clear()
        parts.load_all()
        with mock.patch.object(FileSystemLoader, "get_source", side_effect=TemplateNotFound("gone")):
            self.assertEqual(rendering._environment().get_template("page.html").name, "page.html")

    def load(self, text: str) -> str:
        path = temporary_directory(self) / "a.cfg"
        path.write_text(text)
        return str(self.assertRaises(Refused, load, [str(path)])).replace(str(path), "a.cfg")

    def test_nothing_is_loaded_of_a_newer_program(self) -> None:
        """What has been installed over the program that runs may not fit to what is loaded of it."""
        self.patch(parts, "_STAMP", (0, 0))
        with mock.patch.dict(sys.modules):
            sys.modules.pop("reusedproxy.operators.stats.handler", None)
            said = self.load(FULL)
        self.assertIn("a.cfg: what it uses of the program cannot be loaded", said)
        self.assertIn("have been replaced", said)

    def test_what_is_loaded_already_does_not_depend_on_files(self) -> None:
        path = temporary_directory(self) / "a.cfg"
        path.write_text(FULL)
        load([str(path)])
        self.patch(parts, "_STAMP", (0, 0))
        load([str(path)])

    def test_a_part_that_is_missing_is_a_fault_of_the_configuration(self) -> None:
        """Of regular expressions, too, which are loaded while the configuration is read."""
        with mock.patch.dict(sys.modules, {"re2": None}):
            said = self.load(FULL)
        self.assertIn("a.cfg: what it uses of the program cannot be loaded", said)
        self.assertIn("re2", said)
