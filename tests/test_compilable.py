"""What mypyc makes of the modules that may be compiled (docs/decisions/13-compiled.md), as far as their text tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent


def compiled_modules() -> list[str]:
    found = re.search(r"(?ms)^COMPILED = \((.*?)^\)", (ROOT / "setup.py").read_text())
    assert found is not None
    return re.findall(r'"([a-z_/]+)"', found[1])


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


class DefaultTests(SynchronousTestCase):
    def test_no_default_is_left_out(self) -> None:
        """Reading it would be an AttributeError, in the compiled build only."""
        modules = compiled_modules()
        self.assertIn("exchanges/attempt", modules)
        for module in modules:
            self.assertEqual([*left_out((ROOT / "reusedproxy" / f"{module}.py").read_text())], [], module)

    def test_what_is_left_out_is_found(self) -> None:
        text = "class A:\n    a: int | None = None\n    b: int | str | None = None\n    c: int | str | None = NOTHING\n"
        self.assertEqual([*left_out(text)], ["A.b"])
