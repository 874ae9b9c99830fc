"""The fuzzer: runs one target after the other in a process of its own, and tells executions, coverage and findings.

    python -m tests.fuzz [--seconds N] [TARGET ...]     N in all, shared out among the targets
    python -m tests.fuzz --replay FILE TARGET

The corpus grows in .fuzz/corpus/TARGET from run to run. An input that breaks a promise is left as .fuzz/TARGET-crash-*
(or -timeout-*), and its target has then ended for this run: mend, keep the file in tests/fuzz/found, run again.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from hashlib import sha1
from pathlib import Path

from tests.fuzz.seeds import seeds_of
from tests.fuzz.targets import PLACE, TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (all)")
    parser.add_argument("--seconds", type=int, default=3600, help="of fuzzing in all (3600)")
    parser.add_argument("--replay", type=Path, help="an input to run again")
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.replay:
        for name in names:
            TARGETS[name].check(options.replay.read_bytes())
        return 0
    shares = sum(TARGETS[name].share for name in names)
    figures = [run(name, max(1, options.seconds * TARGETS[name].share // shares)) for name in names]
    print(f"\n{'target':10}{'seconds':>8}{'executions':>12}{'per second':>12}{'edges':>7}{'features':>10}  finding")
    print("\n".join(line for line, _ in figures))
    return max(code for _, code in figures)


def run(name: str, seconds: int) -> tuple[str, int]:
    """Fuzz one target; a line of figures, and 1 for a finding."""
    corpus = PLACE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds_of(name):
        (corpus / sha1(seed).hexdigest()).write_bytes(seed)
    print(f"{name}, {seconds} s ...", flush=True)
    log = PLACE / f"{name}.log"
    with log.open("wb") as sink:
        command = [sys.executable, "-m", "tests.fuzz.inside", name, str(seconds)]
        code = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, check=False).returncode
    said = log.read_text("utf-8", "replace")
    figures = dict(re.findall(r"stat::(\w+):\s+(\d+)", said))
    edges, features = (re.findall(r"cov: (\d+) ft: (\d+)", said) or [("?", "?")])[-1]
    finding = "none"
    if code:
        written = re.findall(r"Test unit written to (\S+)", said)
        finding = written[-1] if written else f"it failed: see {log}"
        print(said[max(0, said.find("=== Uncaught")) :][:4000])
    executions, rate = figures.get("number_of_executed_units", "?"), figures.get("average_exec_per_sec", "?")
    return f"{name:10}{seconds:>8}{executions:>12}{rate:>12}{edges:>7}{features:>10}  {finding}", int(bool(code))


if __name__ == "__main__":
    sys.exit(main())
