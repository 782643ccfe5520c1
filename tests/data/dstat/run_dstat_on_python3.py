"""Run dstat 0.8.0 unchanged under Python 3: run_dstat_on_python3.py <path of dstat> <its options>.

dstat takes a few names of Python 2's `types` for granted, and leaves by `os._exit`, so that what
its output file has buffered would be lost.
"""

import builtins
import runpy
import sys
import types

for name, kind in {"List": list, "Tuple": tuple, "String": str, "Float": float, "Int": int}.items():
    setattr(types, f"{name}Type", kind)
types.LongType = int
builtins.types = types

plain_open = open


def open_by_line(file, mode="r", buffering=-1, *more, **named):
    """Text that is written reaches the file with each line."""
    return plain_open(file, mode, 1 if mode in ("w", "a") else buffering, *more, **named)


builtins.open = open_by_line
script, sys.argv = sys.argv[1], ["dstat", *sys.argv[2:]]
runpy.run_path(script, run_name="__main__")
