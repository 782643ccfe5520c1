"""S4: nobody but the run's own clients gets into its VPN."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from existing_hosts import existing_hosts
from vpn_strangers import GOOD, try_all

from perfkit.model import Role
from perfkit.vpn.openvpn.ca import Authority

from .experiment import Experiment, Outcome

CERTIFICATES = 100


def run(n: int, _seed: int) -> Outcome:
    strangers = let_in = kept_out = 0
    for _ in range(n):
        with (
            tempfile.TemporaryDirectory(prefix="vpn-") as folder,
            existing_hosts(Path(folder), n_clients=1) as lab,
        ):
            found = try_all(lab, Path(folder))
        strangers += len(found) - 1
        let_in += sum(is_in for kind, is_in in found.items() if kind != GOOD)
        kept_out += not found[GOOD]
    took_s = _time_to_issue()
    return Outcome(
        result=f"{let_in} of {strangers} strangers let in, {kept_out} of {n} own clients kept out; "
        f"{CERTIFICATES} certificates in {took_s:.2f} s of the processor",
        ok=not (let_in or kept_out) and took_s < 2,
    )


def _time_to_issue() -> float:
    with tempfile.TemporaryDirectory(prefix="vpn-") as folder:
        authority = Authority(Path(folder))
        began_s = time.thread_time()  # what else this machine does is not counted
        for number in range(CERTIFICATES):
            authority.issue(f"client-{number:03d}", Role.CLIENT)
        return time.thread_time() - began_s


EXPERIMENT = Experiment(
    key="S4",
    promise="a revoked, foreign, expired or misused certificate is refused by a real OpenVPN",
    bound="0 of 6 kinds of strangers let in; 100 certificates in under 2 s",
    run=run,
    quick=0,  # tests/integration/test_vpn_admission.py tries each
    full=5,
    root=True,
)
