"""The laws by which a total may grow with the number of clients N, as arrays over their shapes.

Each law is a scale and a shape. Here is the shape: the logarithm of the law over its slope at the
origin of its plot, `lambda`, the total at one client.

    linear    lambda N
    constant  C                                        full at the smallest size already
    plateau   min(lambda N, C)                         one part works alone and is full
    Amdahl    lambda N / (1 + sigma (N-1))             a share `sigma` of the work waits in line
    USL       lambda N / (1 + sigma (N-1) + kappa N (N-1))     and `kappa` is lost between pairs

The *knee* is where a law bends from growing to flat: the size at which growth in proportion would
reach the most that the law ever gives, C / lambda. That is the corner of the plateau, 1 / sigma of
Amdahl, and the meeting of both bounds in an asymptotic analysis. USL falls beyond its *peak*,
sqrt((1-sigma) / kappa).

Source: Gunther, Guerrilla Capacity Planning (2007), chapters 4 to 6; Amdahl (1967), Validity of the
single processor approach; Lazowska et al., Quantitative System Performance (1984), section 5.2 for
the asymptotic bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Name = Literal["linear", "constant", "Amdahl", "plateau", "USL"]
Axis = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What each shape says of a quantity; `low` and `high` differ where it leaves a side open."""

    value: Floats
    low: Floats
    high: Floats


def _exact(value: Floats) -> Bounds:
    return Bounds(value, value, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Shapes of one law, of which arrays of length n speak.

    Attributes:
        shape: Quantities that need no scale: sigma, kappa, knee and peak in clients.
        scaled: Logarithms, over that of the scale: `lambda`, and `most`, the largest total.
    """

    sigma: Floats
    kappa: Floats
    corner: Floats
    shape: Mapping[str, Bounds]
    scaled: Mapping[str, Bounds]

    def log_values(self, clients: Floats) -> Floats:
        """Logarithm of the law over its scale; shape (n, clients)."""
        line = np.minimum(np.log(clients), np.log(self.corner)[:, None])
        lost = self.sigma[:, None] * (clients - 1)
        lost = lost + self.kappa[:, None] * clients * (clients - 1)
        return np.asarray(line - np.log1p(lost))


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One law.

    Attributes:
        contains: Laws that are special cases of it.
        free: Parameters of its shape; the scale is one more.
    """

    name: Name
    formula: str
    contains: frozenset[Name] = frozenset()
    free: int

    def axes(self, smallest: float, largest: float) -> tuple[Axis, ...]:
        """The coordinates in which its shapes are searched, each from and to; none is open."""
        if self.name == "plateau":
            return ((float(np.log(smallest)), float(np.log(largest))),)
        return ((0.0, largest / (1 + largest)),) * self.free

    def shapes(self, at: Floats, smallest: float, largest: float) -> Shapes:
        """The shapes at these coordinates.

        Args:
            at: Shape (n, `free`).
        """
        if self.name in ("plateau", "constant"):
            corner = np.exp(at[:, 0]) if self.free else np.full(len(at), smallest)
            return _corners(corner, smallest, largest)
        lost = np.minimum(at / (1 - at) / largest, 1.0)  # the axis ends at 1, but for rounding
        nothing = np.zeros(len(at))
        return _contended(
            lost[:, 0] if self.free > 0 else nothing,
            lost[:, 1] ** 2 if self.free > 1 else nothing,
            self.free,
        )


def _corners(corner: Floats, smallest: float, largest: float) -> Shapes:
    """Corners at an end of the sizes measured may as well lie beyond it."""
    none = np.zeros(len(corner))
    at_first, at_last = corner <= smallest * (1 + 1e-9), corner >= largest * (1 - 1e-9)
    beyond = np.where(at_last, np.inf, corner)
    log_most = np.log(corner)
    return Shapes(
        sigma=none,
        kappa=none,
        corner=corner,
        shape={"knee": Bounds(beyond, np.where(at_first, 0.0, corner), beyond)},
        scaled={
            "lambda": Bounds(none, none, np.where(at_first, np.inf, 0.0)),
            "most": Bounds(np.log(beyond), log_most, np.log(beyond)),
        },
    )


def _contended(sigma: Floats, kappa: Floats, free: int) -> Shapes:
    with np.errstate(divide="ignore", invalid="ignore"):
        peak = np.where(kappa > 0, np.sqrt((1 - sigma) / kappa), np.inf)
        top = np.maximum(peak, 1.0)
        lost = 1 + sigma * (top - 1) + kappa * top * (top - 1)
        knee = np.where(np.isinf(peak), np.where(sigma > 0, 1 / sigma, np.inf), top / lost)
    named = {"sigma": sigma, "kappa": kappa, "peak": peak}
    kept = {0: (), 1: ("sigma",), 2: ("sigma", "kappa", "peak")}[free]
    return Shapes(
        sigma=sigma,
        kappa=kappa,
        corner=np.full(len(sigma), np.inf),
        shape={"knee": _exact(knee)} | {name: _exact(named[name]) for name in kept},
        scaled={"lambda": _exact(np.zeros(len(sigma))), "most": _exact(np.log(knee))},
    )


_STRAIGHT: frozenset[Name] = frozenset({"linear", "constant"})
LAWS = (
    Law(name="linear", formula="lambda N", free=0),
    Law(name="constant", formula="C", free=0),
    Law(name="plateau", formula="min(lambda N, C)", contains=_STRAIGHT, free=1),
    Law(name="Amdahl", formula="lambda N / (1 + sigma (N-1))", contains=_STRAIGHT, free=1),
    Law(
        name="USL",
        formula="lambda N / (1 + sigma (N-1) + kappa N (N-1))",
        contains=_STRAIGHT | {"Amdahl"},
        free=2,
    ),
)
