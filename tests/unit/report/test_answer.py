from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from perfkit.analysis import segments
from perfkit.campaign import phases
from perfkit.model import Window
from perfkit.report.answer import Answer, compose, render
from perfkit.report.answer_tables import provenance
from perfkit.report.answer_words import verdict_sentences
from perfkit.report.ratio_plots import ratios
from perfkit.report.tables import CAPTION_CHARS
from perfkit.runs import campaign_folder
from perfkit.runs.folder import Run
from perfkit.runs.journal import Journal
from perfkit.testing.campaigns import TUNNEL, make_campaign

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def grown(grown_campaign: Run, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    root = tmp_path_factory.mktemp("campaigns") / grown_campaign.id
    shutil.copytree(grown_campaign.root, root)
    return render(Run(root), now=NOW)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    root = tmp_path_factory.mktemp("campaigns") / "varied"
    variants = {"base": 1.0, "slow": 0.7}
    return render(
        make_campaign(root, clients=(4,), variants=variants, repetitions=3, void=(), duration_s=9),
        now=NOW,
    )


def page_of(answer: Answer) -> str:
    return answer.page.read_text()


def without_folded(page: str) -> str:
    return re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)


def test_the_answer_is_a_sentence_with_rate_interval_knee_and_blocks(grown: Answer) -> None:
    first, last = grown.sentences
    found = re.fullmatch(
        r"The tunnel carries (\d+) Mbit/s ±[\d.]+ % at 40 clients, flat from N = (\d+)\S* "
        r"\[.*\]; the OpenVPN thread is full \((0\.9\d|1\.0\d) core\)\.",
        first,
    )
    assert found is not None, first
    assert int(found[1]) == pytest.approx(TUNNEL.most_mbps, rel=0.06)
    assert int(found[2]) == pytest.approx(TUNNEL.knee, rel=0.1)
    assert re.match(r"That is 0\.3\d \[0\.3\d, 0\.3\d\] of the goodput beside the tunnel", last)
    assert "16 blocks, 1 void, " in last


def test_the_page_has_sentence_picture_and_five_columns_and_folds_the_rest(grown: Answer) -> None:
    page = page_of(grown)
    shown = without_folded(page)
    assert (
        shown.index(grown.sentences[0].split(" ±")[0]) < shown.index("<svg") < shown.index("<table")
    )
    assert shown.count("<table") == 1
    assert len(grown.tables["answer"].columns) == 5
    assert page.count("<table") == len(grown.tables)
    assert [plot.name for plot in grown.plots] == ["goodput", "cost", "resources", "residuals"]
    assert "href='methods.html'" in page


def test_the_page_has_no_text_twice_and_captions_of_two_lines(grown: Answer) -> None:
    page = page_of(grown)
    texts = re.findall(r"<(?:p|li|figcaption)[^>]*>([^<]{25,})", page)
    assert len(texts) > 8
    assert sorted(texts) == sorted(set(texts))
    captions = [*(t.caption for t in grown.tables.values()), *(p.title for p in grown.plots)]
    assert max(map(len, captions)) <= CAPTION_CHARS


def test_the_page_loads_nothing_and_its_pictures_take_its_colours(grown: Answer) -> None:
    page = page_of(grown)
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|img|link|iframe)\b", page)
    links = set(re.findall(r"href='([^']+)'", page))
    assert not [link for link in links if not (grown.run.report_dir / link).is_file()]
    for plot in grown.plots:
        assert ET.fromstring(plot.svg).attrib["viewBox"]
        assert "currentColor" in plot.svg


def test_console_and_cell_say_what_the_page_says(grown: Answer) -> None:
    for said in (grown.text(200), grown._repr_html_(), page_of(grown)):
        assert grown.sentences[0].split(" ±")[0] in said
        assert grown.tables["answer"].caption in said
    assert grown._repr_html_().count("<table>") == 1
    assert max(map(len, grown.text(90).splitlines())) <= 90


def test_the_same_campaign_gives_the_same_page(grown: Answer) -> None:
    before = page_of(grown)
    assert page_of(render(grown.run, now=NOW)) == before


def test_answer_json_keeps_the_numbers_of_the_page(grown: Answer) -> None:
    kept = json.loads(campaign_folder.answer_path(grown.run).read_text())
    assert kept["sentences"] == list(grown.sentences)
    assert (kept["blocks"], kept["void"], kept["stop"]) == (16, 1, "repetitions")
    largest = [
        cell
        for cell in kept["cells"]
        if (cell["clients"], cell["test"], cell["figure"]) == (40, "tunnel-tcp", "goodput_bps")
    ]
    table = grown.tables["answer"].to_frame().set_index("clients")
    assert largest[0]["mean"] == table.loc[40, "goodput_bps"]
    law = next(one for one in kept["growth"] if one["figure"] == "goodput_bps")
    assert law["asserted"] == "plateau"
    assert law["knee"][1] <= TUNNEL.knee <= law["knee"][2]
    assert [full["names"] for full in kept["full"]] == [["thread"]]


def test_a_corrected_window_flows_into_the_answer(grown: Answer, tmp_path: Path) -> None:
    shutil.copytree(grown.run.root, tmp_path / "copy")
    run = Run(tmp_path / "copy")
    block = campaign_folder.block_run(run, 1)
    shortened = []
    for segment in segments.read(block):
        assert segment.steady is not None
        window = Window(start_s=segment.steady.start_s + 3, end_s=segment.steady.end_s)
        shortened.append(replace(segment, steady=window, chosen_by="ada"))
    segments.save(block, shortened)
    windows = phases.segment(run)
    assert windows.caption == f"2 windows of {len(windows.rows)} were chosen by a person."
    before = grown.found.frame.query("block == 1")["goodput_bps"]
    after = compose(run).found.frame.query("block == 1")["goodput_bps"]
    assert (before.to_numpy() != after.to_numpy()).all()
    assert compose(run).tables["answer"].rows != grown.tables["answer"].rows


def test_too_few_sizes_say_why_there_is_no_law(varied: Answer, tmp_path: Path) -> None:
    answer = compose(
        make_campaign(tmp_path / "few", clients=(1, 2), repetitions=2, void=(), duration_s=5)
    )
    assert "no law: 0 sizes with 3 repetitions or more, and 5 are needed" in answer.sentences[0]
    assert "laws" not in answer.tables


def test_with_variants_the_sentence_is_the_verdict_and_the_picture_paired_ratios(
    varied: Answer,
) -> None:
    assert varied.sentences[0].startswith("slow against base (")
    assert "): goodput worse (0." in varied.sentences[0]
    assert "VPN CPU per Gbit same" in varied.sentences[0]
    assert [plot.name for plot in varied.plots] == ["ratios", "goodput", "cost"]
    assert "in the order run" in varied.plots[1].title  # one size has no growth, but may drift
    table = varied.tables["answer"]
    assert [column.key for column in table.columns] == [
        "variant",
        "clients",
        "what",
        "shown",
        "said",
    ]
    assert table.to_frame()["said"].tolist() == ["worse", "same"]
    assert "exploratory" in varied.tables["explored"].title


def test_many_figures_are_said_by_verdict_and_drawn_in_one_panel(varied: Answer) -> None:
    judged = varied.found.judged
    assert judged is not None
    own = judged[judged["is_primary"]]
    others = [own.head(1).assign(figure=name) for name in ("rtt_median_s", "rtt_p99_s", "pps")]
    judged = pd.concat([own, *others], ignore_index=True)
    found = replace(varied.found, judged=judged)
    (sentence,) = verdict_sentences(found)
    assert "worse: goodput 0." in sentence
    assert sentence.endswith("; same: VPN CPU per Gbit.")
    unknown = judged.assign(verdict="not judged", reason="one run a side")
    (sentence,) = verdict_sentences(replace(found, judged=unknown))
    assert sentence.endswith(
        "every figure not judged (one run a side); the ratios are in the table."
    )
    plot = ratios(found)  # a picture that collapses is a warning, and warnings are errors
    assert plot is not None
    assert plot.alt.count("slow, N = ") == len(judged)


def test_what_carried_the_packets_is_said_of_each_variant_where_it_differs(varied: Answer) -> None:
    def said(base: str, slow: str) -> str:
        carriers = varied.found.frame["variant"].map({"base": base, "slow": slow})
        frame = varied.found.frame.assign(vpn_implementation=carriers)
        return provenance(replace(varied.found, frame=frame))

    assert "packets carried" not in said("", "")
    assert "; packets carried by process: a 1" in said("process: a 1", "process: a 1")
    line = said("process: a 1", "kernel: b 2")
    assert "packets carried by base: process: a 1, slow: kernel: b 2" in line


def test_what_is_not_steady_or_not_precise_is_warned_of(grown: Answer, tmp_path: Path) -> None:
    shutil.copytree(grown.run.root, tmp_path / "copy")
    run = Run(tmp_path / "copy")
    path = campaign_folder.cells_path(run)
    frame = pd.read_parquet(path)
    frame.loc[(frame["block"] == 1) & (frame["test"] == "tunnel-tcp"), "not_steady"] = "a stall"
    frame.to_parquet(path)
    design = campaign_folder.design_path(run)
    design.write_text(design.read_text().replace('"precision": null', '"precision": 0.001'))
    said = compose(run).warnings
    clients = int(frame.loc[frame["block"] == 1, "clients"].iloc[0])
    assert f"tunnel-tcp, N = {clients}: not steady in 1 of 3 repetitions: a stall" in said
    assert any(line.startswith("±0.1 % was not reached: ") for line in said)


def test_a_campaign_that_is_under_way_says_so(grown: Answer, tmp_path: Path) -> None:
    root = tmp_path / "half"
    run = make_campaign(root, clients=(2,), repetitions=2, void=(), duration_s=9)
    lines = [line for line in run.journal_path.read_text().splitlines() if '"answer"' not in line]
    run.journal_path.write_text("\n".join(lines[:6]) + "\n")  # the fleet, and the first block
    assert Journal(run.journal_path).path == run.journal_path
    answer = compose(run)
    assert answer.sentences[-1].endswith("not finished.")
    assert "(no interval: 1 repetition)" in answer.sentences[0]


def test_without_a_tunnel_the_columns_are_those_that_are_known(tmp_path: Path) -> None:
    run = make_campaign(
        tmp_path / "direct",
        clients=(2,),
        repetitions=2,
        tests=("direct-tcp",),
        void=(),
        duration_s=9,
    )
    answer = compose(run)
    assert answer.sentences[0].startswith("direct-tcp carries 1")
    table = answer.tables["answer"]
    assert [column.key for column in table.columns][3:] == ["client_median_bps", "cpu_busy_pct"]
    assert all(value is not None for row in table.rows for value in row)
    assert "in-tunnel" not in answer.tables


def test_a_campaign_of_which_nothing_counts_yet_says_so(grown: Answer, tmp_path: Path) -> None:
    root = tmp_path / "none"
    root.mkdir()
    run = Run(root)
    for path in (grown.run.manifest_path, campaign_folder.design_path(grown.run)):
        (root / path.name).write_bytes(path.read_bytes())
    lines = grown.run.journal_path.read_text().splitlines()[:5]
    run.journal_path.write_text("\n".join(lines) + "\n")
    answer = compose(run)
    assert answer.sentences[0] == "No block counts yet."
    assert answer.sentences[1].startswith("0 blocks, ")
    assert answer.sentences[1].endswith(", not finished.")
    assert answer.tables["answer"].rows == ()


def test_a_laws_parameters_are_shown_in_the_unit_of_their_figure(grown: Answer) -> None:
    rows = grown.tables["laws"].to_frame()
    plateau = rows[(rows["law"] == "plateau") & (rows["what"] == "tunnel-tcp: goodput")]
    shown = plateau.set_index("parameter")
    assert shown.loc["lambda", "value"] == pytest.approx(TUNNEL.per_client_mbps, rel=0.06)
    assert shown.loc["most", "value"] == pytest.approx(TUNNEL.most_mbps, rel=0.06)
    assert shown["unit"].to_dict() == {"lambda": "Mbit/s", "most": "Mbit/s", "knee": "clients"}
    assert "plateau: min(lambda N, C)" in grown.tables["laws"].method
    assert "inf" not in grown.tables["laws"].to_text(300)
