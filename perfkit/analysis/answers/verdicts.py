"""Verdicts: better, worse, same, or not enough data; few figures are judged, the rest is explored.

The *primary* figures are named before anything is measured (two by default: goodput, and the VPN's
processor time per Gbit, of the tunnel tests). Holm's procedure over them, and over them alone, keeps
the chance of one false alarm in the whole comparison below 5 %. All other figures are exploratory:
Benjamini and Hochberg's procedure bounds the share of false ones among those that are called.

===================  ====================================================================
`worse`, `better`    the adjusted p-value is below 5 %, so that the adjusted interval excludes
                     no change, and the estimate is beyond the margin
`same`               the 90 % interval is inside the margin to both sides
`same or better`     it is inside to the bad side: it is not worse, and may be better
`not enough data`    none of these; about so many more runs of each side would tell
`not judged`         nothing says how far the figure varies: one run a side never gives a verdict
===================  ====================================================================

Source: Holm (1979), A simple sequentially rejective multiple test procedure; Benjamini and Hochberg
(1995), Controlling the false discovery rate; Schuirmann (1987), A comparison of the two one-sided
tests procedure, for `same`, and one of its two tests for `same or better`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from perfkit.analysis.answers import pairs
from perfkit.analysis.answers.contrasts import Contrast, of_pairs
from perfkit.analysis.answers.frame import KEY, counted
from perfkit.analysis.answers.headline import kind_of, primary_of
from perfkit.analysis.confidence import student_t
from perfkit.errors import CampaignError, did_you_mean
from perfkit.model import TestKind

Word = Literal["better", "worse", "same", "same or better", "not enough data", "not judged"]
Direction = Literal["higher", "lower"]

ALPHA = 0.05
MARGIN = 0.05
PRIMARY = ("goodput_bps", "vpn_cpu_s_per_gbit")
BETTER: Mapping[str, Direction] = {
    "goodput_bps": "higher",
    "vpn_cpu_s_per_gbit": "lower",
    "client_median_bps": "higher",
    "jain": "higher",
    "goodput_up_bps": "higher",
    "goodput_down_bps": "higher",
    "client_median_up_bps": "higher",
    "client_median_down_bps": "higher",
    "jain_up": "higher",
    "jain_down": "higher",
    "vs_direct": "higher",
    "retransmits_per_gb": "lower",
    "loss_ratio": "lower",
    "pps": "higher",
    "vpn_cpu_us_per_packet": "lower",
    "rtt_median_s": "lower",
    "rtt_p99_s": "lower",
    "rtt_loaded_median_s": "lower",
    "rtt_loaded_p99_s": "lower",
    "rtt_added_s": "lower",
    "rtt_lost_ratio": "lower",
    "requests_per_s": "higher",
    "requests_failed_ratio": "lower",
    "request_median_s": "lower",
    "request_p99_s": "lower",
    "connect_median_s": "lower",
    "connect_p99_s": "lower",
    "connects_per_s": "higher",
    "connect_cpu_s": "lower",
    "reconnect_median_s": "lower",
    "reconnect_p99_s": "lower",
    "reconnects_per_s": "higher",
    "reconnect_cpu_s": "lower",
    "vpn_rss_bytes": "lower",
    "vpn_rss_per_client_bytes": "lower",
    "idle_bps": "lower",
}
MOST_MORE = 200  # runs a side; beyond, the number says only that this way leads nowhere
_POWER = 0.8  # that so many more runs will tell

PLACE = (*KEY, "path", "figure", "is_primary")
SAID = ("ratio", "low", "high", "p", "p_adjusted", "verdict", "more", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A figure to be judged."""

    contrast: Contrast
    better: Direction
    is_primary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is said of a figure.

    Attributes:
        p_adjusted: Holm's of a primary figure, Benjamini and Hochberg's of another; NaN: not judged.
        more: Runs of each side that would tell, about; NaN where that is not known or not needed,
            infinite beyond `MOST_MORE`.
        reason: Why it is not judged; else empty.
    """

    verdict: Word
    p_adjusted: float = math.nan
    more: float = math.nan
    reason: str = ""

    @property
    def text(self) -> str:
        """The verdict in words, with what is missing."""
        if self.verdict == "not judged":
            return f"{self.verdict}: {self.reason}"
        if self.verdict != "not enough data" or math.isnan(self.more):
            return self.verdict
        if math.isinf(self.more):
            return f"{self.verdict}: more than {MOST_MORE} more would be needed"
        return f"{self.verdict}: about {self.more:.0f} more"


def judge(cases: Sequence[Case], margin: float = MARGIN) -> list[Judgement]:
    """Judge figures together, in their order.

    Args:
        margin: Share of the baseline by which a figure must differ to be better or worse.
    """
    p = [case.contrast.p for case in cases]
    primary = [case.is_primary for case in cases]
    adjusted = np.where(
        primary,
        holm([value if own else math.nan for value, own in zip(p, primary, strict=True)]),
        _discoveries([math.nan if own else value for value, own in zip(p, primary, strict=True)]),
    )
    return [_judged(case, float(q), margin) for case, q in zip(cases, adjusted, strict=True)]


def _judged(case: Case, p_adjusted: float, margin: float) -> Judgement:
    contrast = case.contrast
    if contrast.reason:
        return Judgement(verdict="not judged", reason=contrast.reason)
    low, high = contrast.interval(1 - 2 * ALPHA)
    below, above = math.log1p(-margin), math.log1p(margin)
    word: Word = "not enough data"
    if p_adjusted < ALPHA and not below < contrast.log_ratio < above:
        rises = contrast.log_ratio > 0
        word = "better" if rises == (case.better == "higher") else "worse"
    elif below < low and high < above:
        word = "same"
    elif low > below if case.better == "higher" else high < above:
        word = "same or better"
    more = _more(contrast, margin) if word == "not enough data" else math.nan
    return Judgement(verdict=word, p_adjusted=p_adjusted, more=more)


def _more(contrast: Contrast, margin: float) -> float:
    """About how many more runs would tell, if estimate and spread stay as they are.

    Enough is so many that the interval comes to one side of the margin, or of no change where the
    estimate is beyond the margin, with a chance of 80 %. An estimate near the margin is taken to be
    half a margin from it: no number tells what lies on it.
    """
    size = abs(contrast.log_ratio)
    beyond = size >= math.log1p(margin)
    gap = size if beyond else max(math.log1p(margin) - size, math.log1p(margin) / 2)
    level = 1 - ALPHA if beyond else 1 - 2 * ALPHA

    def tells(more: int) -> bool:
        planned = contrast.with_more(more)
        needed = planned.critical(level) + student_t(planned.degrees, 2 * _POWER - 1)
        return needed * planned.error <= gap

    found = 1 + bisect.bisect_left(range(1, MOST_MORE + 1), x=True, key=tells)
    return float(found) if found <= MOST_MORE else math.inf


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; NaN is no comparison and stays NaN."""
    p = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return [float(value) for value in adjusted]


def _discoveries(p_values: Sequence[float]) -> list[float]:
    from scipy import stats  # noqa: PLC0415 -- it takes longer to load than all of perfkit

    p = np.array(p_values, dtype=np.float64)
    known = np.isfinite(p)
    if known.any():
        p[known] = stats.false_discovery_control(p[known])
    return [float(value) for value in p]


def is_primary(
    figure: str, path: str, primary: Sequence[str], kind: TestKind, *, has_tunnel: bool
) -> bool:
    """Whether a figure of a test is one that the answer is about.

    Args:
        primary: As the design names them, see `perfkit.analysis.answers.headline`.
        kind: Of the test.
        path: `direct` or `tunnel`, of the test.
        has_tunnel: Some test runs in the tunnel; where none does, the direct tests count.
    """
    return figure in primary_of(kind, primary) and path == ("tunnel" if has_tunnel else "direct")


def judge_variants(
    frame: pd.DataFrame,
    base: str,
    margin: float = MARGIN,
    *,
    primary: Sequence[str] = PRIMARY,
    planned: int | None = None,
) -> pd.DataFrame:
    """Hold each variant against the base, in pairs of blocks that ran one after the other.

    A cell whose planned number of pairs is there is judged by Student's t, once. Any other is taken
    to be looked at after every repetition: its intervals are valid at all looks together.

    Args:
        frame: The cells frame; void rows do not count.
        base: The variant that the others are held against.
        primary: Figures that verdicts are about.
        planned: Pairs that were planned; None: nobody knows when it will end.

    Returns:
        One row a (clients, variant, test, figure): `path`, `is_primary`, `pairs`, `ratio` (variant
        over base) with `low` and `high` (95 %, not adjusted), `p` and `p_adjusted`, `verdict`, `more`
        and `reason` as in `Judgement`; the primary figures first.

    Raises:
        CampaignError: the base is no variant of the campaign.
    """
    known = counted(frame)
    if base not in set(frame["variant"]):
        raise CampaignError(
            f"no block of variant {base!r} was run; {did_you_mean(base, set(frame['variant']))}"
        )
    has_tunnel = bool((known["path"] == "tunnel").any())
    kinds = {test: kind_of(known, test) for test in known["test"].unique()}
    places: list[dict[str, Any]] = []
    cases: list[Case] = []
    cells = pairs.between_variants(known, base, tuple(BETTER)).groupby([*PLACE[:-1]], sort=False)
    for keys, found in cells:
        *_, test, path, figure = map(str, keys)
        enough = planned is not None and len(found) >= planned
        contrast = of_pairs(found["log_ratio"].tolist(), sequential=not enough)
        first = is_primary(figure, path, primary, kinds[test], has_tunnel=has_tunnel)
        place = dict(zip(PLACE, (*keys, first), strict=True))
        places.append({**place, "pairs": contrast.runs[0]})
        cases.append(Case(contrast=contrast, better=BETTER[figure], is_primary=first))
    return judged_rows(places, cases, margin, (*PLACE, "pairs", *SAID))


def judged_rows(
    places: Sequence[Mapping[str, Any]],
    cases: Sequence[Case],
    margin: float,
    columns: Sequence[str],
) -> pd.DataFrame:
    """Judge figures together; the primary ones first, and fewer clients before more.

    Args:
        places: What else the row of each case has, of `PLACE` and more.
        columns: Of the frame, in their order: those of `places`, of `SAID`, and `text`.
    """
    rows = []
    for place, case, said in zip(places, cases, judge(cases, margin), strict=True):
        contrast = case.contrast
        low, high = contrast.ratios(1 - ALPHA)
        shown = {"ratio": contrast.ratio, "low": low, "high": high, "p": contrast.p}
        rows.append({**place, **shown, **asdict(said), "text": said.text})
    return pd.DataFrame(rows, columns=list(columns)).sort_values(
        ["is_primary", "clients", "test"],
        ascending=[False, True, True],
        kind="stable",
        ignore_index=True,
    )
