"""Verdicts against planted truth: false alarms of A/A, power of A/B, and answers looked at as they grow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import campaign_truth
import numpy as np
import pandas as pd
from campaign_truth import Record, Truth
from truth_row import TruthRow, share

from perfkit.analysis.answers import baselines, pairs, verdicts
from perfkit.analysis.answers.contrasts import of_sides
from perfkit.analysis.answers.frame import cells_frame

CAMPAIGNS = 1000
ALARMS = {"better", "worse"}
ONE = Truth(sizes=(10,), spread=0.05)
PAIRED = replace(ONE, variants={"base": 1.0, "other": 1.0})
MOST_LOOKS = 40
APART = 10_000  # more blocks than any of these campaigns has


def planted(
    truth: Truth, repetitions: int, change: float, tries: int, rng: np.random.Generator
) -> Iterator[pd.DataFrame]:
    """Campaigns all of whose goodput is changed by a share; built as one frame, which is fast."""
    law = truth.law
    changed = replace(truth, repetitions=repetitions, law=lambda n: law(n) * (1 + change))
    rows: list[Record] = []
    for campaign in range(tries):
        drawn = campaign_truth.records(changed, rng)
        rows += ({**row, "block": row["block"] + campaign * APART} for row in drawn)
    frame = cells_frame(rows)
    for _, own in frame.groupby(frame["block"] // APART):
        yield own.reset_index(drop=True)


def checked(
    n: int, m: int, change: float, tries: int, rng: np.random.Generator, truth: Truth = ONE
) -> Iterator[baselines.Check]:
    """Campaigns of m repetitions held against ones of n."""
    kept = planted(truth, n, 0.0, tries, rng)
    for frame, baseline in zip(planted(truth, m, change, tries, rng), kept, strict=True):
        yield baselines.check(frame, baseline)


def alarms(n: int, m: int, tries: int, rng: np.random.Generator, truth: Truth = ONE) -> int:
    """A/A comparisons in which any primary figure is called better or worse."""
    found = (check.rows for check in checked(n, m, 0.0, tries, rng, truth))
    return sum(bool(ALARMS & set(rows.loc[rows["is_primary"], "verdict"])) for rows in found)


def power(n: int, change: float, tries: int, rng: np.random.Generator) -> int:
    """A/B comparisons in which the goodput is called what it is."""
    word = "better" if change > 0 else "worse"
    found = (check.rows for check in checked(n, n, change, tries, rng))
    return sum(r.loc[r["figure"] == "goodput_bps", "verdict"].item() == word for r in found)


def correlated_pairs(
    rng: np.random.Generator, change: float, spread: float, shared: float
) -> Iterator[list[Record]]:
    """One repetition of base and variant after the other; so much of the variance is the pair's."""
    common = np.sqrt(shared / (1 - shared))
    for (both,) in campaign_truth.repetitions(replace(ONE, sizes=(10,), spread=1e-12), rng):
        pair = float(rng.normal(0.0, spread * np.sqrt(1 - shared) * common))
        rows = []
        for place, factor in enumerate((1.0, 1.0 + change)):
            own = rng.normal(0.0, spread * np.sqrt(1 - shared), 2)
            rows.append(
                {
                    **both,
                    "block": 2 * both["block"] - 1 + place,
                    "variant": ("base", "other")[place],
                    "goodput_bps": both["goodput_bps"] * factor * float(np.exp(pair + own[0])),
                    "vpn_cpu_s_per_gbit": both["vpn_cpu_s_per_gbit"] * float(np.exp(own[1])),
                }
            )
        yield rows


def grown(
    change: float, spread: float, rng: np.random.Generator, *, planned: int | None = None
) -> tuple[str, int, bool]:
    """Look after every repetition, until the goodput is said to be something.

    Returns:
        The word (`open`: none until the end), the repetition, and whether any primary figure was
        called better or worse at any look.
    """
    most, alarmed = planned or MOST_LOOKS, False
    every = islice(correlated_pairs(rng, change, spread, 0.5), most)
    frame = cells_frame([row for rows in every for row in rows])
    for number in range(1, most + 1):
        seen = frame[(frame["repetition"] <= number).to_numpy()]
        found = verdicts.judge_variants(seen, "base", planned=planned)
        said = found.loc[found["is_primary"]].set_index("figure")["verdict"]
        alarmed |= bool(ALARMS & set(said))
        if said["goodput_bps"] in {"same", *ALARMS}:
            return str(said["goodput_bps"]), number, alarmed
    return "open", most, alarmed


def rows(seed: int, scale: float) -> Iterator[TruthRow]:
    """One row after the other."""
    tries = max(20, round(CAMPAIGNS * scale))
    yield one_against_one(seed, tries)
    for n, m in ((1, 3), (3, 1), (2, 2), (2, 5), (3, 3), (5, 5)):
        yield of_equal_sides(n, m, ONE, "spread 5 %", seed, tries)
    heavy = replace(ONE, tail="heavy")
    yield of_equal_sides(5, 5, heavy, "heavy tail", seed, tries)
    seven = replace(Truth(), spread=0.05)
    yield of_equal_sides(3, 3, seven, "7 sizes, 14 figures", seed, max(20, tries // 4))
    for change, least in ((0.1, 55), (-0.1, 55), (0.2, 95), (-0.2, 95)):
        begun = time.perf_counter()
        hits = power(5, change, tries, np.random.default_rng([seed, 5, round(100 * change) + 100]))
        yield TruthRow(
            what=f"power at 5 v 5, spread 5 %, {change:+.0%}", expected=f">= {least} %",
            got=share(hits, tries), ok=hits / tries + 2 * np.sqrt(0.25 / tries) >= least / 100,
            seconds=time.perf_counter() - begun,
        )  # fmt: skip
    yield in_tunnel(seed, tries)
    yield paired_power(seed, max(20, tries // 2))
    yield from as_they_grow(seed, max(20, tries // 4))


def one_against_one(seed: int, tries: int) -> TruthRow:
    """No word at all, whatever the two are."""
    begun, rng = time.perf_counter(), np.random.default_rng([seed, 1])
    said = sum(
        set(check.rows["verdict"]) != {"not judged"}
        for change in (0.0, 0.5)
        for check in checked(1, 1, change, tries // 10, rng)
    )
    return TruthRow(
        what="1 v 1, A/A and +50 %: any verdict", expected="none", ok=said == 0,
        got=f"{said} of {2 * (tries // 10)}", seconds=time.perf_counter() - begun,
    )  # fmt: skip


def of_equal_sides(n: int, m: int, truth: Truth, words: str, seed: int, tries: int) -> TruthRow:
    """No more than 5 % false alarms, within three Monte Carlo errors."""
    begun, rng = time.perf_counter(), np.random.default_rng([seed, n, m, len(words)])
    found = alarms(n, m, tries, rng, truth)
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / tries)
    return TruthRow(
        what=f"A/A {n} v {m}, {words}: better or worse", expected="<= 5 %",
        got=share(found, tries), ok=found / tries <= most, seconds=time.perf_counter() - begun,
    )  # fmt: skip


def in_tunnel(seed: int, tries: int) -> TruthRow:
    """In-tunnel over out-of-tunnel in the block, three quarters of whose variance both share."""
    begun, rng = time.perf_counter(), np.random.default_rng([seed, 12])
    both = replace(ONE, shared=0.75, tests={"direct-tcp": 3.0, "tunnel-tcp": 1.0})
    inside, widths = 0, []
    for frame in planted(both, 5, 0.0, tries, rng):
        row = pairs.in_tunnel(frame).iloc[0]
        inside += row["low"] <= 1 / 3 <= row["high"]
        goodput = frame.groupby("test")["goodput_bps"].apply(list)
        low, high = of_sides(goodput["direct-tcp"], goodput["tunnel-tcp"]).ratios(0.95)
        widths.append((row["high"] - row["low"]) / (high - low))
    return TruthRow(
        what="in / out of tunnel, 5 blocks, 3/4 shared: interval", expected="covers 93 to 97 %",
        got=f"{share(inside, tries)}; {np.median(widths):.2f} as wide",
        ok=abs(inside / tries - 0.95) <= 0.02 + 2 * np.sqrt(0.05 * 0.95 / tries),
        seconds=time.perf_counter() - begun,
    )  # fmt: skip


def paired_power(seed: int, tries: int) -> TruthRow:
    """Judged once, at the planned five pairs, half of whose variance is the pair's own."""
    begun, rng = time.perf_counter(), np.random.default_rng([seed, 11])
    hits = 0
    for _ in range(tries):
        five = islice(correlated_pairs(rng, -0.1, 0.05, 0.5), 5)
        frame = cells_frame([row for rows in five for row in rows])
        found = verdicts.judge_variants(frame, "base", planned=5).set_index("figure")
        hits += found.loc["goodput_bps", "verdict"] == "worse"
    return TruthRow(
        what="power of 5 pairs, spread 5 %, half shared, -10%", expected=">= 55 %",
        got=share(hits, tries), ok=hits / tries + 2 * np.sqrt(0.25 / tries) >= 0.55,
        seconds=time.perf_counter() - begun,
    )  # fmt: skip


def as_they_grow(seed: int, tries: int) -> Iterator[TruthRow]:
    """Looked at after every repetition: equal pairs, and pairs with a change, half of it shared."""
    for spread, planned in ((0.03, None), (0.05, None), (0.05, 5), (0.05, 8)):
        begun, rng = time.perf_counter(), np.random.default_rng([seed, 9, planned or 0])
        looks = [grown(0.0, spread, rng, planned=planned) for _ in range(tries)]
        found = sum(alarmed for _, _, alarmed in looks)
        end = f"{planned} planned" if planned else "until same"
        yield TruthRow(
            what=f"A/A pairs, spread {spread:.0%}, every look, {end}", expected="better, worse <= 5 %",
            got=f"{share(found, tries)}; {_when(looks)}", seconds=time.perf_counter() - begun,
            ok=found / tries <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / tries),
        )  # fmt: skip
    for change in (-0.1, -0.5):
        begun, rng = time.perf_counter(), np.random.default_rng([seed, 10, round(-100 * change)])
        looks = [grown(change, 0.05, rng) for _ in range(tries)]
        right = sum(word == "worse" for word, _, _ in looks)
        yield TruthRow(
            what=f"A/B pairs {change:+.0%}, spread 5 %, every look", expected="worse >= 95 %",
            got=f"{share(right, tries)}; {_when(looks)}", ok=right / tries >= 0.95,
            seconds=time.perf_counter() - begun,
        )  # fmt: skip


def _when(looks: list[tuple[str, int, bool]]) -> str:
    word, _ = Counter(word for word, _, _ in looks).most_common(1)[0]
    return f"{word} at {np.median([n for w, n, _ in looks if w == word]):.0f}"
