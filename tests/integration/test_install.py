"""
The package as people install it: from a source distribution, as a wheel, and editable, in one fresh virtual
environment with what the package index gives. That environment also answers what uninstalling leaves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from unittest import SkipTest

import pytest
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__

ROOT = Path(__file__).resolve().parents[2]
# By name: a checkout that is worked in holds more.
SOURCE = ["CHANGELOG.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml", "setup.py"]
SOURCE += [".dockerignore", "Containerfile", "constraints.txt"]
SOURCE += ["benchmarks", "debian", "etc", "man", "reusedproxy", "tests", "twisted"]
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "dropin.cache")
EXAMPLES = "share/doc/reusedproxy/examples"
FILES = [
    "share/man/man8/reusedproxy.8",
    "share/man/man5/reusedproxy.cfg.5",
    f"{EXAMPLES}/reusedproxy.cfg",
    f"{EXAMPLES}/default/reusedproxy",
    f"{EXAMPLES}/init.d/reusedproxy",
    f"{EXAMPLES}/logrotate.d/reusedproxy",
    f"{EXAMPLES}/systemd/reusedproxy.service",
    f"{EXAMPLES}/systemd/reusedproxy.socket",
]


# The bound of pytest's counts what is installed before the first of them; each command has one of its own.
@pytest.mark.timeout(900)
class InstallTests(SynchronousTestCase):
    """Each test begins and ends with an environment that has Twisted, and no reusedproxy."""

    directory: Path
    source: Path
    files: set[str]
    venv: Path
    sdist: Path
    wheel: Path

    @classmethod
    def setUpClass(cls) -> None:
        directory = tempfile.TemporaryDirectory(prefix="reusedproxy-install-")
        cls.addClassCleanup(directory.cleanup)
        cls.directory = Path(directory.name)
        # A copy: building writes into the source tree.
        cls.source = cls.directory / "source"
        cls.source.mkdir()
        for name in SOURCE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, cls.source / name, ignore=NOT_SOURCE)
            else:
                shutil.copy(ROOT / name, cls.source)
        cls.files = {str(path.relative_to(cls.source)) for path in cls.source.rglob("*") if path.is_file()}
        cls.venv = cls.directory / "venv"
        cls.run_program(sys.executable, "-m", "venv", str(cls.venv))
        found = cls.try_program("python", "-m", "pip", "install", "--quiet", "setuptools>=77")
        if found.returncode:
            raise SkipTest(f"no package index to install from: {found.stderr.strip().splitlines()[-1]}")
        cls.sdist = cls.build("sdist", cls.source)
        with tarfile.open(cls.sdist) as archive:
            archive.extractall(cls.directory, filter="data")
        # From the source distribution, so that nothing may be missing in it.
        cls.wheel = cls.build("wheel", cls.directory / f"reusedproxy-{__version__}")
        cls.run_program("python", "-m", "pip", "install", "--quiet", str(cls.wheel))
        cls.uninstall()

    @classmethod
    def try_program(cls, program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, seeing nothing of the checkout."""
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        command = [program if os.path.isabs(program) else str(cls.venv / "bin" / program), *arguments]
        return subprocess.run(
            command,
            cwd=cwd or cls.directory,
            env={**environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @classmethod
    def run_program(cls, program: str, *arguments: str, cwd: Path | None = None) -> str:
        """The same, of a program that has to succeed; what it printed."""
        done = cls.try_program(program, *arguments, cwd=cwd)
        if done.returncode:
            raise AssertionError(f"{program} {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    @classmethod
    def build(cls, kind: str, source: Path) -> Path:
        """What the build backend makes of `source`."""
        hook = f"from setuptools import build_meta; build_meta.build_{kind}({str(cls.directory)!r})"
        cls.run_program("python", "-c", hook, cwd=source)
        (built,) = cls.directory.glob("*.tar.gz" if kind == "sdist" else "*.whl")
        return built

    def install(self, *arguments: str) -> None:
        self.addCleanup(self.uninstall)
        self.run_program("python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *arguments)

    @classmethod
    def uninstall(cls) -> None:
        cls.run_program("python", "-m", "pip", "uninstall", "--quiet", "--yes", "reusedproxy")

    def lists(self, program: str) -> bool:
        """Whether a program of Twisted's knows reusedproxy."""
        output = self.run_program(program, "--help")
        # One of Twisted's own plugins, to see that it is a list.
        self.assertIn("A general-purpose web server", output)
        return " reusedproxy " in output

    def test_a_wheel_brings_the_program_the_manual_and_the_samples(self) -> None:
        self.install(str(self.wheel))
        self.assertTrue(self.lists("twist"))
        self.assertTrue(self.lists("twistd"))
        self.assertEqual(f"reusedproxy {__version__}\n", self.run_program("twist", "reusedproxy", "--version"))
        self.assertEqual([], [name for name in FILES if not (self.venv / name).is_file()])
        self.assertTrue(os.access(self.venv / f"{EXAMPLES}/init.d/reusedproxy", os.X_OK))
        sample = str(self.venv / f"{EXAMPLES}/reusedproxy.cfg")
        checked = self.run_program("twist", "reusedproxy", "--config", sample, "--check")
        self.assertIn("Configuration file is valid", checked)

    def test_uninstalling_leaves_twisted_whole(self) -> None:
        files = "from importlib.metadata import files; print(*(f for f in files('twisted') if f.locate().exists()))"
        before = self.run_program("python", "-c", files)
        self.install(str(self.wheel))
        self.assertTrue(self.lists("twist"))
        self.uninstall()
        self.assertFalse(self.lists("twist"))
        self.assertFalse(self.lists("twistd"))
        self.assertEqual(before, self.run_program("python", "-c", files))
        self.assertEqual([], [name for name in FILES if (self.venv / name).exists()])

    def test_an_editable_install_is_seen_too(self) -> None:
        self.install("--no-build-isolation", "--editable", str(self.source))
        self.assertTrue(self.lists("twist"))
        self.assertTrue(self.lists("twistd"))
        self.assertEqual(f"reusedproxy {__version__}\n", self.run_program("twist", "reusedproxy", "--version"))

    def test_the_wheel_has_one_file_for_twisted_and_nothing_that_is_not_ours(self) -> None:
        names = zipfile.ZipFile(self.wheel).namelist()
        self.assertEqual(
            ["twisted/plugins/reusedproxy_plugin.py"], [name for name in names if name.startswith("twisted/")]
        )
        tops = {name.partition("/")[0] for name in names}
        own = f"reusedproxy-{__version__}"
        self.assertEqual({"reusedproxy", "twisted", f"{own}.dist-info", f"{own}.data"}, tops)

    def test_the_source_distribution_has_what_a_packager_needs(self) -> None:
        with tarfile.open(self.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        self.assertEqual(set(), self.files - names)
        self.assertEqual(set(), {name for name in names if name.endswith(("dropin.cache", ".pyc"))})
