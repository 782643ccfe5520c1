"""A synthetic campaign whose law is known: a finished folder to explore and to test with, no host.

`make_campaign` writes what a campaign leaves: design.json with its drawn order, a journal, a run
folder a block (`perfkit.testing.runs`), cells.parquet. Each block's goodput is the planted law times
noise that both tests of the block share and noise of the test's own, as on real hosts; the VPN's
processor time per bit does not depend on the clients, so its thread is full where the law is flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from perfkit.analysis import campaign_cells
from perfkit.runs import campaign_folder, design
from perfkit.runs.design import BASE, Design, PlannedBlock
from perfkit.runs.folder import Run, write_json
from perfkit.runs.journal import Journal
from perfkit.testing.logtext import CPU_S_PER_GBIT, GAP_S, T0_UTC_S
from perfkit.testing.runs import make_run

SIZES = (1, 2, 5, 10, 20, 50)
_PAUSE_S = 9.0  # between two blocks: idle control, arming, collecting
_LAUNCH_S, _CONFIGURE_S = 4.0, 21.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """The planted law: each client adds as much, until the server is full.

    Attributes:
        per_client_mbps: Goodput that a client adds.
        most_mbps: Goodput of all clients where the server is full: 306 Mbit/s at 3.2 s/Gbit are
            0.98 of a core.
    """

    per_client_mbps: float = 28.0
    most_mbps: float = 306.0

    @property
    def knee(self) -> float:
        """Clients at which the server is full."""
        return self.most_mbps / self.per_client_mbps

    def goodput_mbps(self, clients: int) -> float:
        """Goodput of so many clients."""
        return min(self.per_client_mbps * clients, self.most_mbps)


TUNNEL, DIRECT = Plateau(), Plateau(per_client_mbps=95.0, most_mbps=905.0)


def make_campaign(  # noqa: PLR0913 - one keyword a property of the campaign
    folder: Path,
    *,
    name: str = "sample-campaign",
    clients: Sequence[int] = SIZES,
    repetitions: int = 5,
    variants: Mapping[str, float] | None = None,
    tests: Sequence[str] = ("direct-tcp", "tunnel-tcp"),
    spread: float = 0.025,
    void: Sequence[int] = (8,),
    duration_s: int = 12,
    seed: int = 1,
    is_reduced: bool = True,
) -> Run:
    """Write the folder of a finished campaign; the same arguments write the same figures.

    Args:
        folder: Becomes the campaign's root; must not exist. Files are written there and nowhere else.
        variants: Variant -> factor on the goodput of tunnel tests; None: `base` alone.
        spread: s.d. of the logarithm of goodput over repetitions.
        void: Blocks, in the order run, that lost a client: they are run again.
        is_reduced: With windows and cells; False: logs alone, as they come home.

    Returns:
        The campaign's run.
    """
    factors = dict(variants or {BASE: 1.0})
    chance = np.random.default_rng(seed)
    plan = _planned(name, clients, repetitions, factors, tests, seed)
    run = _open(folder, plan, duration_s)
    journal = _Clocked(run)
    journal.fleet()
    queue = [(block, 1) for of_one in plan.order for block in of_one]
    number = 0
    while queue:
        planned, attempt = queue.pop(0)
        number += 1
        lost = number in void and planned.clients > 1
        with journal.block(number, planned, attempt, lost=lost):
            block = make_run(
                campaign_folder.block_run(run, number).root,
                clients=planned.clients,
                tests=planned.tests,
                seed=seed * 1000 + number,
                duration_s=duration_s,
                client_cv=0.05 if planned.clients > 2 else 0.0,
                t0_utc_s=journal.now_s,
                shared_cpu=False,
                failed={f"client-{planned.clients:03d}": "killed"} if lost else {},
                **_drawn_figures(planned.clients, factors[planned.variant], spread, chance),
            )
            block.update_manifest({"name": name, "variant": planned.variant})
            journal.now_s += len(planned.tests) * (duration_s + GAP_S)
        if lost:
            queue.insert(0, (planned, attempt + 1))
    journal.end()
    if is_reduced:
        campaign_cells.refresh(run)
    return run


def _drawn_figures(
    clients: int, factor: float, spread: float, chance: np.random.Generator
) -> dict[str, Any]:
    """What the logs of a block say, for `make_run`; its tests share their noise in part."""
    shared = float(chance.normal(0.0, spread * 0.8))
    direct, tunnel = (
        law.goodput_mbps(clients) * float(np.exp(shared + chance.normal(0.0, spread * 0.6)))
        for law in (DIRECT, TUNNEL)
    )
    return {
        "rate_mbps": direct,
        "tunnel_share": tunnel * factor / direct,
        "cpu_s_per_gbit": CPU_S_PER_GBIT * float(np.exp(chance.normal(0.0, spread * 0.4))),
    }


def _planned(
    name: str,
    clients: Sequence[int],
    repetitions: int,
    factors: Mapping[str, float],
    tests: Sequence[str],
    seed: int,
) -> Design:
    return Design(
        name=name,
        created_utc=datetime.fromtimestamp(T0_UTC_S - 60, UTC).isoformat(),
        seed=seed,
        clients=tuple(clients),
        variants=tuple(factors),
        tests=tuple(tests),
        repetitions=repetitions,
        precision=None,
        max_repetitions=repetitions,
        order=design.draw(
            seed, clients=clients, variants=list(factors), tests=tests, repetitions=repetitions
        ),
        variant_changes={
            name: {} if name == BASE else {"goodput_factor": factor}
            for name, factor in factors.items()
        },
    )


def _open(folder: Path, plan: Design, duration_s: int) -> Run:
    folder.mkdir(parents=True, mode=0o700)
    run = Run(folder)
    design.save(plan, run)
    write_json(
        run.manifest_path,
        {
            "format": 1,
            "run": run.id,
            "name": plan.name,
            "created_utc": plan.created_utc,
            "parameters": {
                "clients": ",".join(map(str, plan.clients)),
                "repetitions": plan.repetitions,
                "variants": ",".join(plan.variants),
                "duration_s": duration_s,
                "provider": "synthetic",
                "seed": plan.seed,
            },
            "provider_traits": {"shared_cpu": False},
            "notices": ["A sample: its logs were generated, no host was ever there."],
        },
    )
    return run


class _Clocked:
    """The campaign's journal, by a clock of its own: what the fleet and the blocks would have written."""

    def __init__(self, run: Run) -> None:
        self.now_s = T0_UTC_S - 60.0
        self._run = run
        self._journal = Journal(
            run.journal_path,
            now=lambda: datetime.fromtimestamp(0, UTC) + timedelta(seconds=self.now_s),
        )

    def fleet(self) -> None:
        """The fleet is launched and configured."""
        for phase, elapsed_s in (("launch", _LAUNCH_S), ("configure", _CONFIGURE_S)):
            self._journal.append("phase-started", phase=phase)
            self.now_s += elapsed_s
            self._journal.append("phase-done", phase=phase, elapsed_s=elapsed_s)

    @contextmanager
    def block(
        self, number: int, planned: PlannedBlock, attempt: int, *, lost: bool
    ) -> Iterator[None]:
        """A block is run inside."""
        begun_s = self.now_s
        folder = campaign_folder.block_run(self._run, number).root.relative_to(self._run.root)
        self._journal.append(
            "block-claimed",
            block=number,
            repetition=planned.repetition,
            clients=planned.clients,
            variant=planned.variant,
            attempt=attempt,
            folder=str(folder),
            hosts=["server", *(f"client-{n:03d}" for n in range(1, planned.clients + 1))],
        )
        self.now_s += _PAUSE_S
        yield
        if lost:
            why = f"client-{planned.clients:03d} was lost"
            self._journal.append("block-void", block=number, rule="missing-clients", why=why)
        self._journal.append("block-done", block=number, seconds=self.now_s - begun_s)

    def end(self) -> None:
        """All repetitions were run, the hosts are gone."""
        self._journal.append("answer", stop="repetitions")
        self._journal.append("released", leaked=[])
        self._journal.close()
