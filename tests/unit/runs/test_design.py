"""The design of a campaign: every cell once a repetition, pairs balanced, written once."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import RunError
from perfkit.runs import campaign_folder, design, folder
from perfkit.runs.design import Design, PlannedBlock, draw
from perfkit.runs.folder import Run

NAMES = ("a", "b", "c", "d")
designs = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31),
        "clients": st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True),
        "variants": st.integers(1, 4).map(lambda n: NAMES[:n]),
        "tests": st.integers(1, 4).map(lambda n: tuple(f"test-{k}" for k in range(n))),
        "repetitions": st.integers(1, 9),
    }
)


def made(**changes: object) -> Design:
    shape = {"clients": (1, 5), "variants": ("base", "new"), "tests": ("direct-tcp", "tunnel-tcp")}
    order = draw(7, **shape, repetitions=3)  # type: ignore[arg-type] -- literals above
    given_fields = {
        "name": "demo",
        "created_utc": "2026-11-30T07:00:00+00:00",
        "seed": 7,
        **shape,
        "repetitions": 3,
        "precision": None,
        "max_repetitions": 3,
        "order": order,
        "variant_changes": {"new": {"openvpn": {"server": {"sndbuf": "65536"}}}},
    }
    return Design(**{**given_fields, **changes})


def campaign(runs_dir: Path) -> Run:
    run = folder.create(runs_dir, "demo", {"clients": "1,5"})
    design.save(made(), run)
    return run


@given(designs)
def test_every_repetition_has_every_cell_once(chosen: dict) -> None:
    order = draw(**chosen)
    wanted = {
        (n, v, t) for n in chosen["clients"] for v in chosen["variants"] for t in chosen["tests"]
    }
    assert len(order) == chosen["repetitions"]
    for number, blocks in enumerate(order, start=1):
        cells = [(b.clients, b.variant, t) for b in blocks for t in b.tests]
        assert len(cells) == len(wanted)
        assert set(cells) == wanted
        assert {b.repetition for b in blocks} == {number}


@given(designs)
def test_variants_of_one_count_follow_each_other_with_the_same_order_of_tests(chosen: dict) -> None:
    for blocks in draw(**chosen):
        changes = sum(a.clients != b.clients for a, b in pairwise(blocks))
        assert changes == len(chosen["clients"]) - 1
        for n in chosen["clients"]:
            assert len({b.tests for b in blocks if b.clients == n}) == 1


@given(designs)
def test_pairs_are_balanced_over_every_two_repetitions(chosen: dict) -> None:
    order = draw(**chosen)
    for n in chosen["clients"]:
        first_of: Counter[tuple[str, str]] = Counter()
        for blocks in order:
            own = [b for b in blocks if b.clients == n]
            for sequence in ([b.variant for b in own], own[0].tests):
                first_of.update((a, b) for i, a in enumerate(sequence) for b in sequence[i + 1 :])
        for (a, b), times in first_of.items():
            back = first_of[(b, a)]
            assert abs(times - back) == chosen["repetitions"] % 2


@given(designs)
def test_the_same_seed_gives_the_same_order(chosen: dict) -> None:
    assert draw(**chosen) == draw(**chosen)


@settings(max_examples=5)
@given(st.integers(0, 2**31))
def test_the_order_is_drawn_and_not_that_of_the_list(seed: int) -> None:
    order = draw(seed, clients=range(1, 11), variants=("base",), tests=("t",), repetitions=3)
    counts = [[b.clients for b in blocks] for blocks in order]
    assert any(drawn != sorted(drawn) for drawn in counts)
    assert counts[0] != counts[1]


def test_a_design_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = campaign(tmp_path)
    assert design.load(run) == made()
    assert design.load(run).order[0][0] == made().order[0][0]
    assert (made().blocks_each, made().cells) == (4, 8)


def test_a_design_is_never_written_over(tmp_path: Path) -> None:
    run = campaign(tmp_path)
    before = campaign_folder.design_path(run).read_bytes()
    with pytest.raises(RunError, match="never changed"):
        design.save(made(seed=8), run)
    assert campaign_folder.design_path(run).read_bytes() == before


def test_a_single_run_has_no_design_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="single run, no campaign"):
        design.load(folder.create(tmp_path, "demo", {"clients": 1}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 1 expected, 2 found"),
        ({"clients": "many"}, "damaged at clients"),
        ({"order": [[{"repetition": 1}]]}, "damaged at order.0.0"),
        ({"stranger": 1}, "damaged at stranger"),
    ],
)
def test_a_damaged_design_is_refused_with_the_place(
    tmp_path: Path, change: dict, said: str
) -> None:
    run = campaign(tmp_path)
    path = campaign_folder.design_path(run)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match=said):
        design.load(run)


def test_a_planned_block_says_what_it_is() -> None:
    block = PlannedBlock(repetition=1, clients=5, variant="base", tests=("t",))
    assert block in draw(3, clients=[5], variants=["base"], tests=["t"], repetitions=1)[0]
