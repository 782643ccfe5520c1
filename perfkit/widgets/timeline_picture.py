"""The picture under the windows: a timeline drawn by Matplotlib for a range, a size and a theme.

Pure: the same timeline, range and size draw the same bytes. Everything is placed in pixels of the
page, so that a front end can lay windows over the picture without asking. No Matplotlib axes are
made: their ticks and layout took ten times as long as the lines.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from perfkit.analysis.decimation import kept_samples, visible
from perfkit.analysis.timeline import Panel, Series, Timeline
from perfkit.logs.run_logs import SlotPlan
from perfkit.model import Segment
from perfkit.units import format_mbps, format_some
from perfkit.widgets import panel_legend
from perfkit.widgets.panel_axis import ROUND_STEPS, to_axis

LEFT_PX, RIGHT_PX = 58, 14
PLAN_PX = (4, 20)  # top and bottom of the timetable's row
MARKS_PX = (26, 44)  # of the row in which windows are named
FIRST_PANEL_PX, PANEL_PX, HEADER_PX, FOOT_PX = 68, 78, 22, 42
LEAST_WIDTH_PX, MOST_WIDTH_PX = 320, 4000
_PX_PER_INCH, _POINTS_PER_INCH = 96, 72
_TEXT_PX = 11.5
_LETTER_PX = 0.62 * _TEXT_PX  # a wide one
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
_FACES: Any = {  # Any: only Matplotlib 3.11 and later types the keys
    "text.parse_math": False,  # a dollar in a test's name is a dollar
    "path.simplify": False,  # decimated already
    "hatch.linewidth": 0.5,
}


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a picture; lines differ in their dashes as well."""

    ink: str
    faint: str
    lines: tuple[str, ...]
    chosen: str
    proposed: str
    ground: str


LIGHT = Theme(
    ink="#1f2937",
    faint="#6b7280",
    lines=("#0072b2", "#b45309", "#047857"),
    chosen="#009e73",
    proposed="#6b7280",
    ground="white",
)
DARK = Theme(
    ink="#e5e7eb",
    faint="#9ca3af",
    lines=("#56b4e9", "#f0b429", "#4ade80"),
    chosen="#34d399",
    proposed="#9ca3af",
    ground="#111111",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What to draw: a range of time, and the place for it.

    Attributes:
        width_px: In pixels of the page; the height follows from the number of panels.
        ratio: Pixels of the screen for one of the page.
    """

    begin_s: float
    end_s: float
    width_px: int = 960
    ratio: float = 1.0
    dark: bool = False

    @property
    def theme(self) -> Theme:
        """Its colours."""
        return DARK if self.dark else LIGHT

    @property
    def right_px(self) -> int:
        """Where the panels end."""
        return self.width_px - RIGHT_PX

    @property
    def px_per_s(self) -> float:
        """Pixels of the page a second."""
        return (self.right_px - LEFT_PX) / (self.end_s - self.begin_s)

    def x_px(self, t_s: float) -> float:
        """Where a moment lies; outside the range, at its border."""
        return LEFT_PX + (min(max(t_s, self.begin_s), self.end_s) - self.begin_s) * self.px_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawn view; all places are in pixels of the page, from the upper left corner.

    Attributes:
        panels_px: Top and bottom of each panel.
        alt: The picture in words.
    """

    png: bytes
    view: View
    height_px: int
    panels_px: tuple[tuple[int, int], ...]
    alt: str


def panel_places(count: int) -> tuple[tuple[int, int], ...]:
    """Top and bottom of each of so many panels, in pixels of the page."""
    tops = [FIRST_PANEL_PX + place * (PANEL_PX + HEADER_PX) for place in range(count)]
    return tuple((top, top + PANEL_PX) for top in tops)


def draw(
    line: Timeline,
    view: View,
    *,
    chosen: Sequence[Segment] = (),
    proposed: Sequence[Segment] = (),
    opaque: bool = False,
) -> Picture:
    """Draw a timeline.

    Args:
        chosen, proposed: Windows to draw into the picture, where no front end lays them over it.
        opaque: On the theme's ground, for places whose own colour is not known.
    """
    theme, places = view.theme, panel_places(max(len(line.panels), 1))
    height = places[-1][1] + FOOT_PX
    with mpl.rc_context(_FACES):
        sheet = _Sheet(view, height, theme.ground if opaque else "none")
        _draw_plan(sheet, line.slots)
        for panel, (top, bottom) in zip(line.panels, places, strict=False):
            for windows, colour, hatch in (
                (chosen, theme.chosen, None),
                (proposed, theme.proposed, "//"),
            ):
                _draw_windows(sheet, windows, (top, bottom), colour, hatch)
            _draw_panel(sheet, panel, (top, bottom), line.slots)
        if not line.panels:
            words = "nothing was measured on the server, and no client counts"
            sheet.text(view.width_px / 2, sum(places[0]) / 2, words, theme.faint, ha="center")
        _draw_time(sheet, places)
        _name_windows(sheet, chosen, theme.chosen, "✓", "chosen")
        _name_windows(sheet, proposed, theme.proposed, "?", "proposed")
        png = sheet.to_png()
    return Picture(
        png=png,
        view=view,
        height_px=height,
        panels_px=places,
        alt=describe(line, view, chosen, proposed),
    )


class _Sheet:
    """A Matplotlib figure to draw on in pixels of the page, y downwards."""

    def __init__(self, view: View, height_px: int, ground: str) -> None:
        self.view, self.theme = view, view.theme
        size = view.width_px / _PX_PER_INCH, height_px / _PX_PER_INCH
        self._figure = Figure(figsize=size, dpi=_PX_PER_INCH * view.ratio, facecolor=ground)
        FigureCanvasAgg(self._figure)
        self._pixels = (
            Affine2D().scale(view.ratio, -view.ratio).translate(0, height_px * view.ratio)
        )

    def add(self, artist: Any) -> None:
        """An artist whose coordinates are pixels."""
        artist.set_transform(self._pixels)
        self._figure.add_artist(artist)

    def text(self, x_px: float, y_px: float, words: str, colour: str, **how: Any) -> None:
        """Words; their middle is at the height."""
        size = _TEXT_PX * _POINTS_PER_INCH / _PX_PER_INCH
        how = {"va": "center_baseline", "fontsize": size, "color": colour, **how}
        self.add(Text(x_px, y_px, words, **how))

    def line(self, x_px: Any, y_px: Any, colour: str, dash: Any = "-", width: float = 1.0) -> None:
        """A line; its width is in pixels."""
        points = width * _POINTS_PER_INCH / _PX_PER_INCH
        self.add(Line2D(x_px, y_px, color=colour, linestyle=dash, lw=points))

    def box(self, left: float, right: float, top: float, bottom: float, **how: Any) -> None:
        """A rectangle."""
        self.add(Rectangle((left, top), right - left, bottom - top, **how))

    def to_png(self) -> bytes:
        """What was drawn."""
        out = io.BytesIO()
        quick = {"compress_level": 2}
        self._figure.savefig(out, format="png", pil_kwargs=quick, metadata={"Software": None})
        return out.getvalue()


def describe(
    line: Timeline, view: View, chosen: Sequence[Segment], proposed: Sequence[Segment]
) -> str:
    """A picture in words, for those who do not see it."""
    parts = [f"The server from {view.begin_s:.1f} to {view.end_s:.1f} s after T0."]
    for panel in line.panels:
        tops = [_largest(series, view) for series in panel.series]
        top = max((value for value in tops if np.isfinite(value)), default=float("nan"))
        parts.append(f"{panel.name}: {_worded(top, panel.unit)}.")
    planned = [f"{s.name} from {s.start_s:.0f} to {s.end_s:.0f} s" for s in line.slots]
    parts.append(f"Planned: {format_some(planned, 8) or 'nothing'}.")
    if chosen or proposed:
        parts.append(f"{len(chosen)} windows chosen, {len(proposed)} proposed.")
    return " ".join(parts)


def _worded(top: float, unit: str) -> str:
    if not np.isfinite(top):
        return "no data"
    return f"up to {format_mbps(top) if unit == 'bit/s' else f'{top:.0f} {unit}'.strip()}"


def _largest(series: Series, view: View) -> float:
    values = series.values[visible(series.t_s, view.begin_s, view.end_s)]
    values = values[np.isfinite(values)]
    return float(values.max()) if len(values) else float("nan")


def _draw_plan(sheet: _Sheet, slots: Sequence[SlotPlan]) -> None:
    """The timetable: a bar for each planned slot, named where there is room."""
    view, (top, bottom) = sheet.view, PLAN_PX
    middle = (top + bottom) / 2
    sheet.text(LEFT_PX - 8, middle, "planned", sheet.theme.faint, ha="right")
    for slot in slots:
        left, right = view.x_px(slot.start_s), view.x_px(slot.end_s)
        if right <= left:
            continue
        sheet.box(left, right, top, bottom, fc="none", ec=sheet.theme.faint, lw=0.7)
        names = (slot.name, slot.name.partition("-")[0])
        name = next((n for n in names if len(n) * _LETTER_PX < right - left), "")
        if name:
            sheet.text((left + right) / 2, middle, name, sheet.theme.ink, ha="center")


def _draw_panel(
    sheet: _Sheet, panel: Panel, place: tuple[int, int], slots: Sequence[SlotPlan]
) -> None:
    view, theme, (top, bottom) = sheet.view, sheet.theme, place
    tops = [_largest(series, view) for series in panel.series]
    most = max((value for value in tops if np.isfinite(value)), default=0.0) or 1.0
    axis = to_axis(panel, (view.begin_s, view.end_s), most, slots)
    marks = axis.marks
    heights = [bottom - height for height in axis.height(np.array(marks)) * (bottom - top)]
    _draw_grid(sheet, heights, place)
    for mark, height in zip(marks, heights, strict=True):
        least = "≤" if axis.floor and mark == axis.floor else ""
        sheet.text(LEFT_PX - 7, height, f"{least}{mark:,.6g}", theme.ink, ha="right")
    title = f"{panel.name} ({axis.unit})" if axis.unit else panel.name
    sheet.text(LEFT_PX, top - 10, title, theme.ink, ha="left", weight="bold")
    looks = list(zip(panel.series, _cycle(theme.lines), _cycle(_DASHES), strict=False))
    for series, colour, dash in reversed(looks):
        x_px, values = _polyline(series, view)
        heights_px = axis.height(values / axis.factor) * (bottom - top)
        sheet.line(x_px, bottom - heights_px, colour, dash, 1.5)
    names = [series.name for series in panel.series] if len(looks) > 1 else []
    entries = panel_legend.place(
        names, title, begin_px=LEFT_PX, end_px=view.right_px, size_px=_TEXT_PX
    )
    for entry, (series, colour, dash) in zip(entries, looks, strict=False):
        sheet.text(entry.name_end, top - 10, series.name, theme.ink, ha="right")
        ends = [entry.sample_begin, entry.sample_end]
        sheet.line(ends, [top - 10, top - 10], colour, dash, 1.8)


def _draw_grid(sheet: _Sheet, heights: Sequence[float], place: tuple[int, int]) -> None:
    view, (top, bottom) = sheet.view, place
    rows = [[(LEFT_PX, height), (view.right_px, height)] for height in heights]
    columns = [[(view.x_px(mark), top), (view.x_px(mark), bottom)] for mark in _time_marks(view)]
    faint: dict[str, Any] = {"colors": sheet.theme.faint, "linewidths": 0.5}
    sheet.add(LineCollection([*rows, *columns], alpha=0.3, **faint))
    axis = [[(LEFT_PX, top), (LEFT_PX, bottom)], [(LEFT_PX, bottom), (view.right_px, bottom)]]
    sheet.add(LineCollection(axis, **faint))


def _time_marks(view: View) -> list[float]:
    room = max((view.right_px - LEFT_PX) // 90, 2)
    marks = MaxNLocator(room, steps=ROUND_STEPS).tick_values(view.begin_s, view.end_s)
    return [float(mark) for mark in marks if view.begin_s <= mark <= view.end_s]


def _draw_time(sheet: _Sheet, places: Sequence[tuple[int, int]]) -> None:
    view, bottom = sheet.view, places[-1][1]
    for mark in _time_marks(view):
        words = f"{round(mark, 6) + 0.0:,.12g}"
        sheet.text(view.x_px(mark), bottom + 12, words, sheet.theme.ink, ha="center")
    middle = (LEFT_PX + view.right_px) / 2
    sheet.text(middle, bottom + 30, "seconds after T0", sheet.theme.ink, ha="center")


def _polyline(series: Series, view: View) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The corners of a series' steps in a view: pixels across, and values."""
    shown = visible(series.t_s, view.begin_s, view.end_s)
    columns = round((view.right_px - LEFT_PX) * view.ratio)
    kept = kept_samples(series.values[shown], columns)
    t_s, values = series.t_s[shown][kept], series.values[shown][kept]
    # A step's corner stands at the sample before, or at the one after.
    corners = np.repeat(t_s, 2)
    levels = np.repeat(values, 2)
    corners, levels = (
        (corners[:-1], levels[1:]) if series.holds == "before" else (corners[1:], levels[:-1])
    )
    across = LEFT_PX + (np.clip(corners, view.begin_s, view.end_s) - view.begin_s) * view.px_per_s
    return across, levels


def _draw_windows(
    sheet: _Sheet,
    windows: Sequence[Segment],
    place: tuple[int, int],
    colour: str,
    hatch: str | None,
) -> None:
    """Outer windows light with dashed borders, steady windows darker with solid ones."""
    view, (top, bottom) = sheet.view, place
    for segment in windows:
        spans: list[tuple[Any, float, Any]] = [(segment.outer, 0.10, (0, (3, 2)))]
        spans += [(segment.steady, 0.16, "-")] if segment.steady else []
        for window, alpha, dash in spans:
            left, right = view.x_px(window.start_s), view.x_px(window.end_s)
            if right <= left:
                continue
            sheet.box(
                left, right, top, bottom, fc=(colour, alpha), ec=(colour, 0.3), lw=0, hatch=hatch
            )
            for moment, x_px in ((window.start_s, left), (window.end_s, right)):
                if view.begin_s <= moment <= view.end_s:
                    sheet.line([x_px, x_px], [top, bottom], colour, dash)


def _name_windows(
    sheet: _Sheet, windows: Sequence[Segment], colour: str, sign: str, word: str
) -> None:
    """Over each window what it is, for pictures without a front end."""
    view, (top, bottom) = sheet.view, MARKS_PX
    for segment in windows:
        left, right = view.x_px(segment.outer.start_s), view.x_px(segment.outer.end_s)
        if right <= left:
            continue
        full = f"{sign} {word} by {segment.chosen_by}"
        fits = [t for t in (full, f"{sign} {word}", sign) if len(t) * _LETTER_PX < right - left]
        if fits:
            middle = (left + right) / 2
            sheet.text(middle, (top + bottom) / 2, fits[0], sheet.theme.ink, ha="center")
        dash = "-" if word == "chosen" else (0, (1, 1))
        sheet.line([left, right], [bottom, bottom], colour, dash, 2.5)


def _cycle(values: Sequence[Any]) -> list[Any]:
    return [*values] * 8
