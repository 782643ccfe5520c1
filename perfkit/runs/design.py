"""design.json: what a campaign varies, how often, and in which order; written first, never changed.

A campaign is a randomised complete block design: each repetition visits every cell once, in an order
that is drawn before the first block is run. What is compared is run one after the other, and its
order is balanced: the variants of one client count follow each other, in a drawn order in one
repetition and in the reverse one in the next (AB/BA), and so do the tests of a block. All variants of
a count have the same order of tests in a repetition, so that a test's place is no difference between
them.

Source: R. A. Bailey, Design of Comparative Experiments (2008), chapters 4 (complete blocks) and 6
(order balanced in pairs of periods).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from perfkit.errors import RunError
from perfkit.model import CapacityGoal
from perfkit.runs import folder
from perfkit.runs.campaign_folder import design_path
from perfkit.runs.folder import Run

Thing = TypeVar("Thing")
FORMAT = 1
BASE = "base"  # the variant that stands in resources/
PRIMARY = ("goodput_bps", "vpn_cpu_s_per_gbit")  # of the tunnel tests; where there are none, direct
VOID_RULES = (
    *("missing-clients", "spot-notice", "clock", "other-load"),
    *("impossible-figures", "offered-load"),
)
SEARCH_VOID_RULES = (*VOID_RULES, "loss-unknown")  # of the trials of a search


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBlock:
    """One T0: some clients of the fleet, one variant, all tests.

    Attributes:
        repetition: From 1.
        tests: In the drawn order.
    """

    repetition: int
    clients: int
    variant: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a campaign is to do, as decided before its first host was made.

    Attributes:
        clients: The client counts, in the order given.
        tests: In the order of tests.conf.
        repetitions: How many, where the number is fixed; None: `precision` decides.
        precision: Half-width of a cell's 95 % interval, as a share of its mean, that is sharp
            enough; None: the number of repetitions is fixed.
        max_repetitions: The most that may be run; equal to `repetitions` where that is fixed.
        budget_min: Minutes that the campaign may take in all; None: no bound.
        budget_usd: Dollars that it may cost in all; None: no bound.
        margin: Share by which a figure must differ to be worse or better.
        primary: Figures that verdicts are about; all others are exploratory.
        order: The blocks of repetition r are order[r - 1], in the order in which they are run.
        void_rules: Why a block may be void, and for nothing else: never because of its figures.
        variant_changes: For each variant, what differs from `base`.
        capacity: What is searched for at each place of the order, by a block a trial; None: nothing,
            each place is one block.
        adopted: Ids of the runs that it was made of, where nothing was drawn; empty: it was run.
        adopted_differ: Names of the conditions in which they differ.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    created_utc: str
    seed: int
    clients: tuple[int, ...]
    variants: tuple[str, ...]
    tests: tuple[str, ...]
    repetitions: int | None
    precision: float | None
    max_repetitions: int
    budget_min: float | None = None
    budget_usd: float | None = None
    margin: float = 0.05
    primary: tuple[str, ...] = PRIMARY
    order: tuple[tuple[PlannedBlock, ...], ...]
    void_rules: tuple[str, ...] = VOID_RULES
    variant_changes: Mapping[str, Any] = field(default_factory=dict)
    capacity: CapacityGoal | None = None
    adopted: tuple[str, ...] = ()
    adopted_differ: tuple[str, ...] = ()

    @property
    def blocks_each(self) -> int:
        """Blocks of one repetition, with every cell in it."""
        return len(self.clients) * len(self.variants)

    @property
    def size(self) -> str:
        """How many blocks it may have: `60`, `at most 60`; or `2 searches`, of as many as they need."""
        total = self.blocks_each * self.max_repetitions
        if self.capacity is not None:
            return f"{total} search{'' if total == 1 else 'es'}"
        return f"{'at most ' if self.repetitions is None else ''}{total}"

    @property
    def cells(self) -> int:
        """Combinations of client count, variant and test."""
        return self.blocks_each * len(self.tests)


def draw(
    seed: int,
    *,
    clients: Sequence[int],
    variants: Sequence[str],
    tests: Sequence[str],
    repetitions: int,
) -> tuple[tuple[PlannedBlock, ...], ...]:
    """The blocks of each repetition in the order in which they are to be run.

    The same arguments give the same order. Within two repetitions, counted from the first, each
    variant comes before each other one of its count exactly once, and so does each test.
    """
    chance = Random(seed)  # noqa: S311 -- an order to be repeated, not a secret
    order: list[tuple[PlannedBlock, ...]] = []
    inside: dict[int, tuple[list[str], list[str]]] = {}
    for repetition in range(1, repetitions + 1):
        if repetition % 2:
            inside = {n: (_drawn(chance, variants), _drawn(chance, tests)) for n in clients}
        else:
            inside = {n: (first[::-1], second[::-1]) for n, (first, second) in inside.items()}
        order.append(
            tuple(
                PlannedBlock(repetition=repetition, clients=n, variant=v, tests=tuple(inside[n][1]))
                for n in _drawn(chance, clients)
                for v in inside[n][0]
            )
        )
    return tuple(order)


def _drawn(chance: Random, things: Sequence[Thing]) -> list[Thing]:
    return chance.sample(things, len(things))


def save(design: Design, run: Run) -> None:
    """Write design.json of a campaign that has none yet.

    Raises:
        RunError: there is one; a campaign's design is never changed.
    """
    path = design_path(run)
    if path.exists():
        raise RunError(
            f"{path}: is there already, and the design of a campaign is never changed; for another "
            "design begin a campaign of another name"
        )
    folder.write_json(path, {"format": FORMAT, **asdict(design)})


def load(run: Run) -> Design:
    """Read design.json of a campaign.

    Raises:
        RunError: the run is no campaign, or the file is damaged or of another version.
    """
    path = design_path(run)
    if not path.exists():
        raise RunError(f"run {run.id} is a single run, no campaign: it has no {path.name}")
    kept = run.load_json(path)
    found = kept.pop("format", None) if isinstance(kept, dict) else None
    if found != FORMAT:
        raise RunError(
            f"{path}: format {FORMAT} expected, {found} found; use the perfkit that made it"
        )
    try:
        return TypeAdapter(Design).validate_python(kept)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{path}: damaged at {where}: {first['msg']}; restore it from a copy"
        ) from exc
