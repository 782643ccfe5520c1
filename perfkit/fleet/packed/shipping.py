"""What is sent to a machine so that it can make hosts: perfkit's own rooms for that, and pyroute2.

All of it is text of Python and sh; the machine compiles what it uses. Nothing is installed there: it
lies in the run's folder and goes with it. It is in use there as soon as it is whole, and is not changed
then: what is sent again, by a controller that takes the run up, is put beside it, or is the same.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import perfkit
from perfkit.errors import ProviderError

MACHINE_SH = Path(__file__).with_name("machine.sh")
_STOP = b"exec sh ./machine.sh stop\n"
_PERFKIT = Path(perfkit.__file__).parent
_MODULES = (
    "__init__.py",
    "errors.py",
    "model.py",
    "ownership.py",
    "units.py",
    "fleet/__init__.py",
    "fleet/provider.py",
    "fleet/shaping.py",
    "fleet/local/*.py",
    "fleet/packed/__init__.py",
    "fleet/packed/on_machine.py",
)


@functools.lru_cache(maxsize=2)  # the same for all machines of a run
def archive(run_id: str, *, makes_hosts: bool) -> bytes:
    """A compressed tar archive for the folder `packed` of a run on a machine; the same text, the same bytes.

    Args:
        makes_hosts: With all that it takes to make and end hosts; the server makes none.
    """
    own = {"run": f"{run_id}\n".encode(), "machine.sh": MACHINE_SH.read_bytes(), "stop": _STOP}
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as tar,
    ):
        for name, text in (own | (dict(_sources()) if makes_hosts else {})).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text))
    return packed.getvalue()


def unpacking(sent: bytes) -> str:
    """Words of sh that unpack from standard input what is sent, unless it is there, and have it used."""
    place = f"sent-{hashlib.sha256(sent).hexdigest()[:16]}"
    return (
        f"if [ -d {place} ]; then cat >/dev/null; else\n"
        "rm -rf part-*\n"  # of a controller that died
        "said=$({ mkdir part-$$ && tar -xzf - --no-same-owner -C part-$$ && "
        f"mv -T part-$$ {place}; }} 2>&1) || {{\n"
        "rm -rf part-$$; why=$(printf '%s' \"$said\" | grep -m 1 'No space left' || printf '%s' \"$said\")\n"
        'echo "what was sent could not be unpacked: $why" | head -n 1 >&2; exit 1; }\n'
        f"fi\nsh {place}/machine.sh use {place} || exit 1\n"
    )


def _sources() -> Iterator[tuple[str, bytes]]:
    for pattern in _MODULES:
        for path in sorted(_PERFKIT.glob(pattern)):
            yield f"perfkit/{path.relative_to(_PERFKIT)}", path.read_bytes()
    found = find_spec("pyroute2")  # it is read here, and not used
    if found is None or found.origin is None:
        raise ProviderError("pyroute2, which machines need, is not installed here: pip install it")
    library = Path(found.origin).parent
    for path in sorted(library.rglob("*.py")):
        yield f"pyroute2/{path.relative_to(library)}", path.read_bytes()
