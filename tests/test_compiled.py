"""What modules have to be like that a build may compile (COMPILED in setup.py, docs/decisions/13-compiled.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text()
SETUP = (ROOT / "setup.py").read_text()


def compiled() -> list[str]:
    """The names of the modules, with slashes."""
    for node in ast.parse(SETUP).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED":
            return [each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)]  # type: ignore[misc]
    raise AssertionError("setup.py names none")


def members(annotation: ast.expr) -> Iterator[ast.expr]:
    """The members of a union, as it is written."""
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from members(annotation.left)
        yield from members(annotation.right)
    else:
        yield annotation


def left_out(text: str) -> Iterator[str]:
    """The attributes of classes whose default mypyc leaves out: None for what may also be one of several classes."""
    for each in ast.walk(ast.parse(text)):
        if not isinstance(each, ast.ClassDef):
            continue
        for line in each.body:
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.value, ast.Constant):
                continue
            if line.value.value is None and len([*members(line.annotation)]) > 2:
                yield f"{each.name}.{ast.unparse(line.target)}"


class CompiledTests(SynchronousTestCase):
    def test_no_default_is_left_out(self) -> None:
        """Reading it would be an AttributeError, in the compiled build only."""
        text = "class A:\n    a: int | None = None\n    b: int | str | None = None\n    c: int | str | None = NOTHING\n"
        self.assertEqual([*left_out(text)], ["A.b"])
        for name in compiled():
            self.assertEqual([*left_out((ROOT / "reusedproxy" / f"{name}.py").read_text())], [], name)

    def test_none_has_a_class_with_a_decorator(self) -> None:
        """As one of attrs, it would stay interpreted."""
        made = []
        for name in compiled():
            for node in ast.walk(ast.parse((ROOT / "reusedproxy" / f"{name}.py").read_text())):
                if isinstance(node, ast.ClassDef) and node.decorator_list:
                    made.append(f"{name}: {node.name}")
        self.assertGreater(len(compiled()), 20)
        self.assertEqual(made, [])

    def test_no_method_is_replaced_in_an_instance(self) -> None:
        """A compiled one cannot be. (That of the reactor is Twisted's.)"""
        sources = sorted((ROOT / "reusedproxy").rglob("*.py"))
        replacing = [path.name for path in sources if "method-assign" in path.read_text()]
        self.assertEqual(replacing, ["command.py"])

    def test_no_object_is_asked_for_its_dictionary(self) -> None:
        """A compiled one has none. (`pool.apart` knows that; `vars` of a module is another thing.)"""
        asking = []
        for path in sorted((ROOT / "reusedproxy").rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                called = isinstance(node, ast.Call) and ast.unparse(node.func) == "vars"
                if called or (isinstance(node, ast.Attribute) and node.attr == "__dict__"):
                    asking.append(path.name)
        self.assertEqual(sorted({*asking}), ["apart.py"])

    def test_what_is_never_reached_is_an_error_in_each(self) -> None:
        """mypyc would leave it out."""
        (listed,) = re.findall(r"module = \[([^\]]*)\]\nwarn_unreachable = true", PROJECT)
        patterns = re.findall(r'"(.+?)"', listed)
        names = ["reusedproxy." + name.replace("/", ".") for name in compiled()]
        self.assertEqual([name for name in names if not any(fnmatch(name, each) for each in patterns)], [])

    def test_the_compiler_is_the_mypy_that_has_checked_them(self) -> None:
        for package in ("mypy", "mypy-zope"):
            (asked,) = re.findall(rf'COMPILER = \[.*?"({package}[~=<>][^"]*)"', SETUP)
            self.assertIn(f'"{asked}"', PROJECT)
