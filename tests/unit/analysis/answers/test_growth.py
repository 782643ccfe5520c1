"""How a figure grows: laws that were planted are found, and what is not known is not said."""

from __future__ import annotations

from collections.abc import Callable

import campaign_truth
import numpy as np
import pandas as pd
import pytest
from campaign_truth import Truth

from perfkit.analysis.answers.frame import cells_frame
from perfkit.analysis.answers.growth import Growth, fit_growth, fit_growths
from perfkit.errors import FrameError

ONE_BPS = 50e6
Total = Callable[[float], float]


def linear(clients: float) -> float:
    return ONE_BPS * clients


def plateau(clients: float) -> float:
    return min(ONE_BPS * clients, 600e6)


def usl(sigma: float, kappa: float) -> Total:
    return lambda n: ONE_BPS * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))


def drawn(law: Total, *, seed: int = 1, **changes: object) -> pd.DataFrame:
    truth = Truth(law=law, **changes)  # type: ignore[arg-type]  # what a test changes
    return cells_frame(campaign_truth.records(truth, np.random.default_rng(seed)))


def grown(law: Total, *, seed: int = 1, **changes: object) -> Growth:
    return fit_growth(drawn(law, seed=seed, **changes), "goodput_bps")


LAWS = {
    "linear": (linear, {"lambda": ONE_BPS}),
    "constant": (lambda _clients: 3e8, {"most": 3e8}),
    "plateau": (plateau, {"lambda": ONE_BPS, "most": 6e8, "knee": 12.0}),
    "Amdahl": (usl(0.05, 0.0), {"lambda": ONE_BPS, "sigma": 0.05, "knee": 20.0}),
    "USL": (
        usl(0.02, 4e-4),
        {"lambda": ONE_BPS, "sigma": 0.02, "kappa": 4e-4, "peak": (0.98 / 4e-4) ** 0.5},
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_a_planted_law_is_asserted_and_its_parameters_are_found(name: str) -> None:
    law, truth = LAWS[name]
    found = grown(law, spread=0.002)
    assert found.asserted == name
    shown = found.parameters().query("standing == 'asserted'").set_index("parameter")
    for parameter, value in truth.items():
        assert shown["value"][parameter] == pytest.approx(value, rel=0.02)
        assert shown["low"][parameter] < value < shown["high"][parameter]


@pytest.mark.parametrize("name", LAWS)
def test_a_law_without_noise_is_found_exactly(name: str) -> None:
    law, truth = LAWS[name]
    found = grown(law, spread=0.0)
    shown = found.parameters().query("law == @name").set_index("parameter")
    for parameter, value in truth.items():
        assert shown["value"][parameter] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(("name", "drift"), [("linear", 0.0), ("plateau", 0.2), ("USL", 0.2)])
def test_intervals_hold_the_truth_as_often_as_they_say_with_and_without_drift(
    name: str, drift: float
) -> None:
    law, truth = LAWS[name]
    tries, hits = 50, dict.fromkeys(truth, 0)
    for seed in range(tries):
        shown = grown(law, seed=seed, drift=drift, repetitions=4).parameters()
        shown = shown.query("law == @name").set_index("parameter")
        for parameter, value in truth.items():
            scaled = np.exp(drift / 2) if parameter in ("lambda", "most") else 1.0
            hits[parameter] += shown["low"][parameter] <= value * scaled <= shown["high"][parameter]
    assert min(hits.values()) >= 0.86 * tries  # 3 standard errors below 95 %


def test_a_planted_peak_is_a_fall_and_never_growth() -> None:
    sizes = (1, 10, 30, 60, 97, 150, 200)
    law = usl(0.02, 0.98 / 97**2)
    found = grown(law, sizes=sizes, spread=0.02)
    assert found.peak is not None
    assert found.peak.low < 97 < found.peak.high
    assert found.words.startswith("falls beyond N = ")


def test_a_fall_that_would_lie_beyond_the_sizes_measured_is_not_said_to_be_seen() -> None:
    found = grown(usl(0.02, 0.98 / 150**2), spread=0.005)
    assert found.asserted == "USL"
    assert found.peak is not None
    assert found.peak.value == np.inf
    assert "a fall is not seen" in found.words


@pytest.mark.parametrize("corner", [150.0, 1e4])
def test_a_knee_beyond_the_sizes_measured_is_reported_as_there(corner: float) -> None:
    found = grown(lambda n: ONE_BPS * min(n, corner))
    assert found.knee is not None
    assert (found.knee.value, found.knee.high) == (np.inf, np.inf)
    assert found.words == "linear over the sizes measured"


def test_what_is_flat_from_the_smallest_size_on_has_its_knee_at_or_below_it() -> None:
    found = grown(lambda _n: 3e8, sizes=(10, 20, 30, 50, 100))
    assert found.words == "flat over the sizes measured"
    assert found.knee is not None
    assert found.knee.low == 0


@pytest.mark.parametrize("sizes", [(892, 2945, 3444, 3865, 4665, 6064, 7105), (1, 2, 3, 4, 5)])
def test_every_parameter_of_a_law_lies_in_its_interval(sizes: tuple[int, ...]) -> None:
    shown = grown(lambda _n: 3e8, sizes=sizes).parameters()
    assert (shown["low"] <= shown["value"]).all()
    assert (shown["value"] <= shown["high"]).all()


def test_where_noise_hides_the_law_none_is_asserted_and_the_knee_holds_those_of_all_left() -> None:
    found = grown(usl(0.003, 0.0), spread=0.15, repetitions=3, seed=3)
    assert found.asserted is None
    assert {"linear", "Amdahl"} <= set(found.left)
    assert "not told apart" in found.words
    assert found.knee is not None
    assert found.knee.high == np.inf


def test_what_no_law_fits_is_points_only() -> None:
    found = grown(lambda n: 3e8 * (0.5 if n == 10 else 1.0), spread=0.01)
    assert (found.left, found.asserted, found.knee) == ((), None, None)
    assert found.words.startswith("no law fits (lack of fit, p ")
    assert found.words.endswith("points only")
    assert found.curve([1, 10]).empty
    assert len(found.laws) == 5  # shown, all the same
    assert set(found.parameters()["standing"]) == {"does not fit"}


@pytest.mark.parametrize(
    "changes", [{"sizes": (1, 2, 5, 10)}, {"repetitions": 2}], ids=["sizes", "repetitions"]
)
def test_too_few_sizes_or_repetitions_give_no_law_and_say_why(changes: dict[str, object]) -> None:
    found = grown(linear, **changes)
    assert found.laws == ()
    assert "with 3 repetitions or more, and 5 are needed" in found.words
    assert len(found.residuals()) == len(found.points)


def test_a_void_block_does_not_count_and_a_missing_figure_is_told() -> None:
    frame = drawn(linear, spread=0.01)
    frame.loc[frame.index[0], ["void", "goodput_bps"]] = ["other-load: 9 %", 1.0]
    frame.loc[frame.index[1], "goodput_bps"] = np.nan
    frame.loc[frame.index[2], "goodput_bps"] = 0.0
    found = fit_growth(frame, "goodput_bps")
    assert (len(found.points), found.left_out) == (len(frame) - 3, 2)
    assert found.asserted == "linear"


def test_cells_that_the_stop_rule_ended_early_do_not_bias_the_law() -> None:
    hits = 0
    for seed in range(25):
        frame = drawn(plateau, seed=seed, repetitions=8, drift=0.3)
        # The large sizes go on alone, while everything drifts by 30 %.
        frame = frame[(frame["repetition"] <= 3) | (frame["clients"] >= 20)]
        shown = fit_growth(frame, "goodput_bps").parameters()
        knee = shown.query("law == 'plateau' and parameter == 'knee'").iloc[0]
        hits += knee["low"] <= 12 <= knee["high"]
    assert hits >= 0.82 * 25  # 3 standard errors below 95 %


def test_blocks_that_are_each_a_repetition_of_their_own_share_nothing() -> None:
    frame = drawn(plateau)
    alone = fit_growth(frame.assign(repetition=frame["block"]), "goodput_bps")
    pd.testing.assert_frame_equal(
        alone.parameters(), fit_growth(frame.assign(repetition=1), "goodput_bps").parameters()
    )
    assert alone.asserted == "plateau"


def test_a_share_and_a_cost_have_the_laws_of_their_total() -> None:
    frame = drawn(plateau, spread=0.01)
    share = fit_growth(frame, "client_median_bps")
    assert share.words.startswith("falls in inverse proportion to the clients from N = 12")
    fitted = share.curve([1.0, 100.0])["fit"].to_numpy()
    assert fitted == pytest.approx([ONE_BPS, 6e6], rel=0.02)
    cost = fit_growth(frame, "vpn_cpu_s_per_gbit")
    assert cost.words == "the same over the sizes measured"
    row = cost.curve([7.0]).iloc[0]
    assert row["fit"] == pytest.approx(2.0, rel=0.02)
    assert row["low"] < row["fit"] < row["high"]


def test_the_band_holds_the_law_and_ends_with_the_sizes_measured() -> None:
    curve = grown(plateau).curve([0.5, 1.0, 12.0, 100.0, 101.0])
    assert curve["fit"].isna().tolist() == [True, False, False, False, True]
    inner = curve.iloc[1:4]
    assert (inner["low"] < inner["fit"]).all()
    assert (inner["fit"] < inner["high"]).all()


def test_residuals_are_about_the_law_and_keep_their_block() -> None:
    found = grown(plateau, drift=0.3, spread=0.01)
    rest = found.residuals()
    assert np.corrcoef(rest["block"], rest["residual"])[0, 1] > 0.9
    assert rest["residual"].mean() == pytest.approx(0, abs=0.01)


def test_each_test_and_variant_has_a_growth_of_its_own() -> None:
    tests = {"direct-tcp": 2.0, "tunnel-tcp": 1.0}
    frame = drawn(plateau, tests=tests, variants={"base": 1.0, "new": 1.1})
    found = fit_growths(frame, ["goodput_bps", "vpn_cpu_s_per_gbit"])
    assert len(found) == 2 * 2 + 2  # direct tests have no VPN
    with pytest.raises(FrameError, match="one test and variant"):
        fit_growth(frame, "goodput_bps")
    with pytest.raises(FrameError, match="'jain' has no laws"):
        fit_growth(frame, "jain")


def test_a_campaign_without_a_block_has_no_growth() -> None:
    assert fit_growths(cells_frame([])) == []
