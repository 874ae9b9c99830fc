"""The fuzzing process of one target: `python -m tests.fuzz.inside TARGET SECONDS`, begun by __main__.

It knows atheris, and the proxy is imported here only under its eyes, so that every branch of it counts. The fuzzer ends
the process itself, at the end of the time or with the first input that breaks a promise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

from tests.fuzz.mutator import mutate

with atheris.instrument_imports(include=["reusedproxy"]):
    from tests.fuzz.targets import PLACE, TARGETS

DICTIONARY = Path(__file__).with_name("http.dict")
#: Seconds; an input that takes longer is a finding as well.
SLOW = 5


def main(name: str, seconds: str) -> None:
    target = TARGETS[name]

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        if seed & 1:
            mutated: bytes = atheris.Mutate(data, max_size)
            return mutated
        changed = data[: target.control] + mutate(data[target.control :], seed)
        return changed[:max_size]

    arguments = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={target.max_len}",
        f"-timeout={SLOW}",
        f"-dict={DICTIONARY}",
        f"-artifact_prefix={PLACE}/{name}-",
        "-print_final_stats=1",
        "-rss_limit_mb=1024",
        str(PLACE / "corpus" / name),
    ]
    atheris.Setup(arguments, target.check, custom_mutator=change)
    atheris.Fuzz()


main(*sys.argv[1:])
