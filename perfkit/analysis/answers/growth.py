"""How a figure grows with the number of clients: the cells frame in, a law, or points only, out.

All laws of `growth_laws` are fitted by `growth_fit` and all are shown. A law is *tenable* unless its
residuals exceed the pure error (F test, 1 %); where none is, the points stand alone. Laws whose AICc
is within `APART` of the best tenable one are *left*. A law is *asserted* only where the data leave no
other: it fits (5 %), each law that is no wider form of it is worse by `APART` or more, and no wider
form of it that the data leave departs from it by more than `CLOSE` at any size measured.
Else the answer names those that are not told apart, and its knee holds the knees of all of them.

Nothing is said beyond the sizes measured: a bend or a fall that would lie there is reported as there.

Source: Burnham and Anderson, Model Selection and Multimodel Inference (2002), section 2.6, for
differences of AICc: from about 7 a model has little support; Gunther (2007) for the laws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from perfkit.analysis.answers.frame import counted
from perfkit.analysis.answers.growth_fit import Interval, LawFit, fit_law, size_means
from perfkit.analysis.answers.growth_laws import LAWS, Bounds, Floats, Name
from perfkit.errors import FrameError
from perfkit.units import format_count

Kind = Literal["total", "share", "cost"]

LEAST_SIZES = 5
LEAST_REPETITIONS = 3
TENABLE, SURE = 0.01, 0.05  # p of lack of fit: a true law is below them so often
APART = 7.0
CLOSE = 0.10
# What the laws are laws of: the figure itself, it times the clients, or the clients over it.
KINDS: Mapping[str, Kind] = {
    "goodput_bps": "total",
    "goodput_up_bps": "total",
    "goodput_down_bps": "total",
    "nic_bps": "total",
    "vpn_cores": "total",
    "pps": "total",
    "requests_per_s": "total",
    "client_median_bps": "share",
    "vpn_cpu_s_per_gbit": "cost",
}
METHOD = (
    "Laws: linear, constant, plateau, Amdahl and USL (Gunther 2007), fitted to the logarithms of "
    "blocks, repetitions as a random effect; 95 % intervals by profile likelihood. A law is "
    "asserted where it fits (F test against the pure error of repetitions, 5 %) and no other comes "
    f"within {APART:g} of its AICc or, as a wider form, departs by more than {CLOSE:.0%}. Knee: "
    "where the law bends from growing to flat, the most it gives over what one client gets. "
    "Nothing is said beyond the sizes measured"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How one figure of one test and variant grows.

    Attributes:
        laws: All of them, the lowest AICc first; none where there was too little for a law.
        left: Names of the laws that the data leave, best first; none: points only.
        asserted: The one law that is asserted; None: it is not known which.
        reason: Why there is no law; else empty.
        points: What was fitted, a row a block: block, repetition, clients, value.
        left_out: Blocks that count but have no positive figure.
    """

    figure: str
    kind: Kind
    variant: str
    test: str
    laws: tuple[LawFit, ...]
    left: tuple[Name, ...]
    asserted: Name | None
    reason: str
    points: pd.DataFrame = field(repr=False, compare=False)
    left_out: int

    @property
    def sizes(self) -> tuple[int, ...]:
        """Measured, ascending."""
        return tuple(int(size) for size in sorted(set(self.points["clients"])))

    @property
    def best(self) -> LawFit | None:
        """The asserted law, or the best that is left."""
        return self.law(self.asserted or self.left[0]) if self.left else None

    def law(self, name: Name) -> LawFit:
        """One of `laws`."""
        return next(one for one in self.laws if one.law.name == name)

    @property
    def knee(self) -> Interval | None:
        """Where growing ends, in clients, over all laws that are left; None: points only.

        inf is "beyond the sizes measured", and a lower end of 0 "at or below the smallest".
        """
        return self._within("knee")

    @property
    def peak(self) -> Interval | None:
        """Where the figure's total is largest and falls beyond; None unless USL is asserted."""
        return self._within("peak") if self.asserted == "USL" else None

    def _within(self, name: str) -> Interval | None:
        if self.best is None:
            return None
        names = [self.asserted] if self.asserted else self.left
        found = [self.law(one).parameters[name] for one in names]
        first, last = float(self.sizes[0]), float(self.sizes[-1])
        value = self.best.parameters[name].value
        low, high = min(one.low for one in found), max(one.high for one in found)
        return Interval(
            math.inf if value > last else max(value, first),
            min(low, last) if low > first else 0.0,
            math.inf if high > last else max(high, first),
        )

    @property
    def words(self) -> str:
        """For the answer's sentence, after what is carried: "flat from N = 12 [10, 16]"."""
        return _words(self)

    def curve(self, sizes: Sequence[float]) -> pd.DataFrame:
        """The best law with its 95 % band; without rows where there are points only.

        Args:
            sizes: Clients; what lies beyond the sizes measured is NaN.

        Returns:
            clients, fit, low, high, in the figure's unit.
        """
        best = self.best
        names = ("clients", "fit", "low", "high")
        if best is None:
            return pd.DataFrame({name: pd.Series(dtype=np.float64) for name in names})
        rows = []
        for size in sizes:
            row = (math.nan, math.nan, math.nan)
            if self.sizes[0] <= size <= self.sizes[-1]:
                logs = best.region.shapes.log_values(np.array([float(size)]))[:, 0]
                found = best.region.of_scaled(Bounds(logs, logs, logs))
                ends = sorted(self._figure(log, size) for log in (found.low, found.high))
                row = (self._figure(found.value, size), ends[0], ends[1])
            rows.append((float(size), *row))
        return pd.DataFrame(rows, columns=list(names))

    def residuals(self) -> pd.DataFrame:
        """`points` with `residual`: the logarithm over the best law's, or over the size's mean."""
        clients = self.points["clients"].to_numpy(dtype=np.float64)
        logs = np.log(self.points["value"].to_numpy(dtype=np.float64))
        if self.best is not None:
            fitted = self.curve(clients.tolist())["fit"].to_numpy(dtype=np.float64)
            return self.points.assign(residual=logs - np.log(fitted))
        means = pd.Series(logs).groupby(clients).transform("mean").to_numpy()
        return self.points.assign(residual=logs - means)

    def parameters(self) -> pd.DataFrame:
        """Every law with its parameters, in the order of `laws`.

        Returns:
            law, formula, aicc_above_best, lack_of_fit_p, standing (asserted, left, "" or "does not
            fit"), parameter, value, low, high: `lambda` is the figure of one client, `most` the
            largest total, both in the figure's unit; knee and peak in clients.
        """
        rows = [
            {
                "law": fit.law.name,
                "formula": fit.law.formula,
                "aicc_above_best": fit.aicc - self.laws[0].aicc,
                "lack_of_fit_p": fit.lack_of_fit_p,
                "standing": self._standing(fit),
                "parameter": name,
                "value": found.value,
                "low": found.low,
                "high": found.high,
            }
            for fit in self.laws
            for name, found in self._shown(fit)
        ]
        names = ("law", "formula", "aicc_above_best", "lack_of_fit_p", "standing", "parameter")
        return pd.DataFrame(rows, columns=[*names, "value", "low", "high"])

    def _standing(self, fit: LawFit) -> str:
        if fit.law.name == self.asserted:
            return "asserted"
        if fit.law.name in self.left:
            return "left"
        return "does not fit" if fit.lack_of_fit_p < TENABLE else ""

    def _shown(self, fit: LawFit) -> Iterator[tuple[str, Interval]]:
        for name, found in fit.parameters.items():
            if name == "lambda":
                ends = sorted(self._figure(log, 1.0) for log in (found.low, found.high))
                yield name, Interval(self._figure(found.value, 1.0), *ends)
            elif name != "most":
                yield name, found
            elif self.kind == "total":
                yield (
                    name,
                    Interval(*(_exp(log) for log in (found.value, found.low, found.high))),
                )

    def _figure(self, log: float, clients: float) -> float:
        """The figure of a logarithm of the laws' total."""
        if self.kind == "cost":
            return clients * _exp(-log)
        return _exp(log) / (clients if self.kind == "share" else 1.0)


def fit_growth(frame: pd.DataFrame, figure: str) -> Growth:
    """Fit all laws to one figure of one test and variant.

    Args:
        frame: Rows of the cells frame, of one test and one variant; void ones do not count. Where
            `repetition` is the same in all, blocks are taken to share nothing.
        figure: One of `KINDS`.

    Raises:
        FrameError: the figure has no laws, or there are no rows, or those of several cells' tests.
    """
    if figure not in KINDS:
        raise FrameError(f"growth: {figure!r} has no laws; one of {', '.join(KINDS)} has")
    both = frame[["test", "variant"]].drop_duplicates()
    if len(both) != 1:
        raise FrameError(
            f"growth: rows of one test and variant are needed, found {both.values.tolist()}; "
            "use fit_growths for all"
        )
    test, variant = (str(name) for name in both.iloc[0])
    rows = counted(frame)
    values = rows[figure].to_numpy(dtype=np.float64)
    usable = np.isfinite(values) & (values > 0)
    points = rows.loc[usable, ["block", "repetition", "clients"]].assign(value=values[usable])
    reason = _too_little(points)
    laws = () if reason else _fits(points, KINDS[figure])
    left, asserted = _choose(laws)
    if laws and not left:
        best_p = max(fit.lack_of_fit_p for fit in laws)
        reason = f"no law fits (lack of fit, p {best_p:.2g} at best)"
    return Growth(
        figure=figure,
        kind=KINDS[figure],
        variant=variant,
        test=test,
        laws=laws,
        left=left,
        asserted=asserted,
        reason=reason,
        points=points.reset_index(drop=True),
        left_out=int((~usable).sum()),
    )


def fit_growths(frame: pd.DataFrame, figures: Sequence[str] = ("goodput_bps",)) -> list[Growth]:
    """Fit each test and variant by itself, figure by figure; figures known nowhere are left out."""
    return [
        fit_growth(rows, figure)
        for _, rows in frame.groupby(["test", "variant"], sort=False)
        for figure in figures
        if rows[figure].notna().any()
    ]


def _too_little(points: pd.DataFrame) -> str:
    blocks = points.groupby("clients").size()
    enough = int((blocks >= LEAST_REPETITIONS).sum())
    if enough >= LEAST_SIZES:
        return ""
    return (
        f"no law: {format_count(enough, 'size')} with {LEAST_REPETITIONS} repetitions or more, "
        f"and {LEAST_SIZES} are needed"
    )


def _fits(points: pd.DataFrame, kind: Kind) -> tuple[LawFit, ...]:
    clients, repetition, logs = (
        points[name].to_numpy(dtype=np.float64) for name in ("clients", "repetition", "value")
    )
    logs = np.log(logs)
    if kind == "share":
        logs = logs + np.log(clients)
    elif kind == "cost":
        logs = np.log(clients) - logs
    means = size_means(clients, repetition, logs)
    return tuple(sorted((fit_law(law, means) for law in LAWS), key=lambda fit: fit.aicc))


def _choose(laws: Sequence[LawFit]) -> tuple[tuple[Name, ...], Name | None]:
    """The laws that are left, best first, and the one that is asserted."""
    tenable = [fit for fit in laws if fit.lack_of_fit_p >= TENABLE]
    left = tuple(fit.law.name for fit in tenable if fit.aicc - tenable[0].aicc < APART)
    asserted = [
        fit.law.name
        for fit in tenable
        if fit.lack_of_fit_p >= SURE
        and all(_is_plainer(fit, other) for other in laws if other is not fit)
    ]
    return left, asserted[0] if asserted else None


def _is_plainer(fit: LawFit, other: LawFit) -> bool:
    """Whether a law stands against another one."""
    if fit.law.name in other.law.contains:
        return fit.aicc - other.aicc < APART and _departure(fit, other) <= math.log1p(CLOSE)
    return other.aicc - fit.aicc >= APART


def _departure(fit: LawFit, wider: LawFit) -> float:
    """How far a wider form may be from a law over the sizes measured, in logarithms.

    Levels set aside: the difference between the sizes where it is above and below most.
    """
    sizes = fit.region.means.sizes
    own: Floats = fit.region.shapes.log_values(sizes)[fit.region.best]
    near = wider.region.excess <= wider.region.bound
    apart = wider.region.shapes.log_values(sizes)[near] - own
    return float(np.ptp(apart, axis=1).max())


def _exp(log: float) -> float:
    return math.exp(log) if log < 700 else math.inf


_NARROW = 4.0  # clients


def _of_each(proportion: str, slower: str) -> dict[str, str]:
    """Words of the laws for what each client gets, or costs: of the total's that is flat, or bends."""
    return {
        "linear": "the same over the sizes measured",
        "constant": proportion,
        "plateau": f"{proportion} from N = {{knee}}",
        **dict.fromkeys(("Amdahl", "USL"), f"{slower}, most from N = {{knee}}"),
    }


_SHAPES: Mapping[Kind, Mapping[str, str]] = {
    "total": {
        "linear": "linear over the sizes measured",
        "constant": "flat over the sizes measured",
        "plateau": "flat from N = {knee}",
        "Amdahl": "grows ever more slowly, bends at N = {knee}",
        "USL": "falls beyond N = {peak}",
    },
    "share": _of_each("falls in inverse proportion to the clients", "falls with the clients"),
    "cost": _of_each("rises in proportion to the clients", "rises with the clients"),
}


def _words(found: Growth) -> str:
    knee, peak = found.knee, found.peak
    if knee is None:
        return f"{found.reason}: points only" if found.laws else found.reason
    if found.asserted is None:
        names = ", ".join(found.left[:-1]) + f" and {found.left[-1]}" if len(found.left) > 1 else ""
        apart = (
            f"{names} are not told apart"
            if names
            else f"{found.left[0]} fits best, but is not sure"
        )
        if knee.low >= found.sizes[-1]:
            return f"no bend within the sizes measured; {apart}"
        return f"bends at N = {_shown(knee, found.sizes)}; {apart}"
    template = _SHAPES[found.kind][found.asserted]
    if peak is not None and found.kind == "total" and not math.isfinite(peak.high):
        template = "grows ever more slowly, bends at N = {knee}; a fall is not seen"
    if "{knee}" in template and not math.isfinite(knee.value):
        return f"{template.partition(', ')[0].partition(' from N')[0]}; bends beyond the sizes measured"
    return template.format(
        knee=_shown(knee, found.sizes), peak=_shown(peak, found.sizes) if peak else ""
    )


def _shown(found: Interval, sizes: Sequence[int]) -> str:
    """In clients, with a decimal where the ends would else look like one."""
    digits = 1 if found.high - found.low < _NARROW else 0

    def number(value: float) -> str:
        return f"{value:.{digits}f}" if math.isfinite(value) else "beyond the sizes measured"

    low = number(found.low) if found.low > 0 else f"at most {sizes[0]}"
    if not math.isfinite(found.value):
        return f"{number(found.value)} [{low} or more]"
    return f"{number(found.value)} [{low}, {number(found.high)}]"
