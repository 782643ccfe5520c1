"""python -m tests.reliability [--tier quick|full] [--seed N] [R8 R11 …]: the reliability table.

Run from the project's folder, as root for the rows that make hosts. Prints one row an experiment as
it ends; the exit status is 1 if a bound was not kept.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from .experiment import Experiment, Outcome

HERE = Path(__file__).parent


def experiments() -> list[Experiment]:
    """Those of this folder's modules that hold one, by their keys."""
    names = [path.stem for path in HERE.glob("*.py") if not path.stem.startswith(("_", "test_"))]
    modules = [importlib.import_module(f".{name}", __package__) for name in sorted(names)]
    found = [module.EXPERIMENT for module in modules if hasattr(module, "EXPERIMENT")]
    return sorted(found, key=lambda it: (it.key[0], int(it.key[1:])))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("keys", nargs="*", metavar="KEY", help="only these rows")
    parser.add_argument("--tier", choices=("quick", "full"), default="full")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, help="trials, instead of the tier's")
    asked = parser.parse_args()
    threading.excepthook = lambda _args: None  # the bare ways leave threads that fail
    kept = True
    for experiment in experiments():
        n = asked.n or (experiment.quick if asked.tier == "quick" else experiment.full)
        if not n or (asked.keys and experiment.key not in asked.keys):
            continue
        if experiment.root and os.geteuid() != 0:
            print(f"{experiment.key}: not run, it makes real hosts: needs root")
            continue
        started = time.monotonic()
        print(f"{experiment.key} {experiment.promise}")
        try:
            outcome = experiment.run(n, asked.seed)
        except Exception:  # noqa: BLE001 - the other rows still say what they find
            traceback.print_exc(file=sys.stdout)
            outcome = Outcome(result="it failed, see above", ok=False)
        kept &= outcome.ok
        print(f"    n = {n}, seed {asked.seed}, {time.monotonic() - started:.0f} s")
        print(f"    bound: {experiment.bound}")
        print(f"    found: {outcome.result}  [{'kept' if outcome.ok else 'NOT KEPT'}]")
        if outcome.baseline:
            print(f"    without: {outcome.baseline}")
        sys.stdout.flush()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
