"""How long perfkit takes to load, beside pandas: `python tests/benchmarks/bench_start.py`.

Processor time of whole processes, in turn, medians: the wall clock of a busy machine says nothing.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

TURNS = 9
PROGRAMS = {
    "import pandas": ["-c", "import pandas"],
    "import perfkit.campaign.phases": ["-c", "import perfkit.campaign.phases"],
    "perfkit --help": ["-m", "perfkit", "--help"],
}


def processor_s(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(TURNS):
        for name, arguments in PROGRAMS.items():
            found[name].append(processor_s(arguments))
    pandas_s = statistics.median(found["import pandas"])
    for name, turns in found.items():
        median_s = statistics.median(turns)
        print(f"{name:32} {median_s:.3f} s of processor time, {median_s / pandas_s:.2f} of pandas")


if __name__ == "__main__":
    main()
