"""R15: the estimate of a host's clock is right within its own bound, also on an uneven path.

The host's `date` is set off by a known number of nanoseconds, another one each trial, and a proxy holds
back what goes one way longer than what goes the other. All runs on this machine's one clock, so the true
offset is known.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from local_sshd import LocalSshd, make_access

from perfkit.measure.clocks import measure_clock
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.remote import Remote
from perfkit.units import NS_PER_S

from .experiment import Experiment, Outcome
from .proxy import CuttingProxy

SHIM = "#!/bin/sh\nread -r skew_ns <{folder}/skew\necho $(($(/bin/date +%s%N) + skew_ns))\n"
LONGEST_DELAY_S = 0.03


def run(n: int, seed: int) -> Outcome:
    chance, key = Random(seed), make_ssh_key()
    outside, errors_s, bounds_s = 0, [], []
    with tempfile.TemporaryDirectory(prefix="clocks-") as name:
        folder = Path(name)
        shim = folder / "bin" / "date"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(folder=folder))
        shim.chmod(0o755)
        path = f"HOME={folder} PATH={shim.parent}:/usr/bin:/bin"
        sshd = LocalSshd(folder, key, SetEnv=path).start()
        proxy = CuttingProxy(sshd.port)
        host = replace(sshd.host, port=proxy.port)
        try:
            with Remote(host, make_access(folder, key, host)) as remote:
                for _ in range(n):
                    skew_ns = chance.randrange(-2 * NS_PER_S, 2 * NS_PER_S)
                    (folder / "skew").write_text(f"{skew_ns}\n")
                    proxy.delays_s = tuple(chance.uniform(0, LONGEST_DELAY_S) for _ in range(2))
                    sample = measure_clock(remote)
                    error_s = abs(sample.offset_s - skew_ns / NS_PER_S)
                    outside += error_s > sample.bound_s
                    errors_s.append(error_s)
                    bounds_s.append(sample.bound_s)
        finally:
            proxy.close()
            sshd.stop()
    return Outcome(
        result=f"{outside} of {n} outside; error {1e3 * statistics.median(errors_s):.1f} ms and bound "
        f"{1e3 * statistics.median(bounds_s):.1f} ms at the median",
        ok=outside <= n // 100,
    )


EXPERIMENT = Experiment(
    key="R15",
    promise="a clock's estimate is right within its bound",
    bound="at least 99 of 100 within",
    run=run,
    quick=5,
    full=500,
)
