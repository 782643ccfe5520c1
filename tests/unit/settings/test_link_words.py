"""Links and rates as a person writes them, and the variants that their levels make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project_copy import copy_project

from perfkit.campaign.design import plan_design
from perfkit.errors import ConfigError
from perfkit.model import HostLink
from perfkit.settings import links, parameters, variants


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_project(tmp_path, "resources", "config")
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "bps", "shortest"),
    [
        ("200kbit", 200e3, "200kbit"),
        ("100 Mbit", 100e6, "100mbit"),
        ("1.5mbit/s", 1.5e6, "1.5mbit"),
        ("1000mbit", 1e9, "1gbit"),
        ("64000bit", 64e3, "64kbit"),
    ],
)
def test_a_rate_is_bits_with_their_unit(text: str, bps: float, shortest: str) -> None:
    assert links.parse_rate(text) == bps
    assert links.format_rate(bps) == shortest


@pytest.mark.parametrize(
    "text",
    [
        *("200", 200000, 200.0, "200k", "200kbps", "200kbyte", "1 MB", "25MB/s", "-1mbit"),
        *("1_0mbit", "1e3mbit", "01mbit", "mbit", "0mbit", "1bit", "100gbit", "1tbit", True),
    ],
)
def test_a_rate_with_a_wrong_unit_or_none_is_refused_with_what_to_write(text: object) -> None:
    with pytest.raises(ConfigError, match="parameters: rate") as caught:
        parameters.load({"rate": text})
    assert "kbit" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("100mbit", {"server": HostLink(rate_bps=100e6)}),
        ("loss 0.1%", {"server": HostLink(loss_ratio=0.001)}),
        ("client 20mbit, loss 1 %", {"client": HostLink(rate_bps=20e6, loss_ratio=0.01)}),
        (
            "both delay 20ms, jitter 0.002s",
            {side: HostLink(delay_s=0.02, jitter_s=0.002) for side in ("server", "client")},
        ),
        (
            "server 1gbit and client-007 5mbit",
            {"server": HostLink(rate_bps=1e9), "client-007": HostLink(rate_bps=5e6)},
        ),
        ("none", {}),
    ],
)
def test_links_are_read_by_whose_they_are_and_written_as_they_are_read(
    text: str, found: dict[str, HostLink]
) -> None:
    assert links.parse_links(text) == found
    assert links.parse_links(links.format_links(found)) == found


LINKS = st.builds(
    HostLink,
    rate_bps=st.none() | st.integers(8, 10_000_000).map(lambda kbit: kbit * 1e3),
    loss_ratio=st.integers(0, 500).map(lambda tenths: tenths / 1000),
    delay_s=st.integers(11, 10_000).map(lambda ms: ms / 1000),
    jitter_s=st.integers(0, 11).map(lambda ms: ms / 1000),
)


@given(st.dictionaries(st.sampled_from(["server", "client", "client-012"]), LINKS))
def test_what_is_kept_of_links_gives_the_same_links(found: dict[str, HostLink]) -> None:
    again = links.parse_links(links.format_links(found))
    assert again.keys() == found.keys()
    for side, link in found.items():
        for name in ("rate_bps", "loss_ratio", "delay_s", "jitter_s"):
            assert getattr(again[side], name) == pytest.approx(getattr(link, name)), name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("100mbit, loss 120%", "from 0.001% to 50%"),
        ("100mbit, loss -1%", "with its sign"),
        ("100mbit, loss 1", "a share of the packets with its sign: loss 1%"),
        ("100mbit, loss", "a share of the packets"),
        ("100mbit, delay 20", "a time with its unit is needed: delay 20ms"),
        ("100mbit, delay 60s", "at most 10s"),
        ("100mbit, jitter 2ms", "give a delay of 0.002s"),
        ("100mbit, delay 1ms, jitter 2ms", "more than the delay"),
        ("100mbit, 10mbit", "rate is there twice"),
        ("100mbit, duplicate 1%", "write it like 100mbit, loss 1%"),
        ("server 1mbit and server 2mbit", "two links of server"),
        ("both 1mbit and client 2mbit", "two links of client"),
        ("clients 1mbit", "no rate"),
        ("1mbit; 1000kbit", "1mbit is there twice"),
    ],
)
def test_what_is_wrong_in_a_link_is_named_with_what_to_write(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parameters.load({"link": text})
    assert "parameters: link" in str(caught.value)
    assert says in str(caught.value)


def test_one_level_is_the_runs_own_and_makes_no_campaign() -> None:
    chosen = parameters.load({"rate": "200kbit", "link": "100mbit, loss 1%"})
    assert not chosen.parameters.is_campaign
    assert {test.rate_bps for test in chosen.tests} == {200e3}
    assert chosen.links == {"server": HostLink(rate_bps=100e6, loss_ratio=0.01)}
    kept = chosen.to_dict()
    assert (kept["rate"], kept["link"]) == ("200kbit", "server 100mbit, loss 1%")
    none = parameters.load()
    assert {test.rate_bps for test in none.tests} == {None}
    assert (dict(none.links), none.to_dict()["rate"], none.to_dict()["link"]) == ({}, "", "")


def test_levels_make_a_variant_of_each_combination_and_blocks_have_its_values(
    project: Path,
) -> None:
    (project / "config/variants.conf").write_text("[x]\nopenvpn.both.mssfix = 1200\n")
    chosen = parameters.load(
        {"variants": "base,x", "rate": "200kbit,1.5mbit", "link": "none; 10mbit, loss 0.1%"}
    )
    names = [
        f"{variant}-{rate}-{link}"
        for variant in ("base", "x")
        for rate in ("200kbit", "1_5mbit")
        for link in ("none", "10mbit-loss0_1")
    ]
    loaded = variants.load(chosen)
    assert [it.name for it in loaded] == names
    assert chosen.parameters.fixed_repetitions == 3
    design = plan_design(chosen, variants.changes(chosen))
    assert (design.variants, design.blocks_each) == (tuple(names), 8)
    assert design.variant_changes["x-1_5mbit-10mbit-loss0_1"] == {
        "openvpn.server.mssfix": "1200",
        "openvpn.client.mssfix": "1200",
        "rate": "1.5mbit",
        "link.server": "10mbit, loss 0.1%",
    }
    by_name = {it.name: it for it in loaded}
    for planned in design.order[0]:
        block = variants.applied(chosen, by_name[planned.variant]).for_block(planned)
        kept = parameters.load({**block.to_dict(), "threads": 0})
        (again,) = variants.load(kept)
        for settings in (block, variants.applied(kept, again)):
            rate, link = planned.variant.split("-")[1:3]
            assert {links.format_rate(test.rate_bps or 0) for test in settings.tests} == {
                rate.replace("_", ".")
            }
            assert bool(settings.links) == (link != "none")
        assert not kept.parameters.is_campaign or again.name == "x"


def test_what_a_campaign_keeps_of_its_variants_is_crossed_again(
    project: Path, tmp_path: Path
) -> None:
    (project / "config/variants.conf").write_text(
        "[x]\nrate = 5mbit\nlink.client = none\nlink.server = 1mbit\n"
    )
    chosen = parameters.load({"variants": "base,x", "link": "both 10mbit"})
    kept = tmp_path / "kept"
    kept.mkdir()
    variants.keep(chosen, kept)
    again = variants.load(replace(chosen, config_dir=kept))
    assert again == variants.load(chosen)
    applied = variants.applied(chosen, again[1])
    assert applied.links == {"server": HostLink(rate_bps=1e6), "client": HostLink()}
    assert {test.rate_bps for test in applied.tests} == {5e6}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rate = 5", "no rate"),
        ("rate = 5MB", "write bits with their unit"),
        ("link.server = 100mbit, loss 120%", "from 0.001% to 50%"),
        ("link.servers = 100mbit", "no side of a link"),
        ("link = 100mbit", "no side of a link"),
        ("link.both = 1mbit\nlink.client = 2mbit", "given for the client by another key too"),
    ],
)
def test_what_is_wrong_in_a_variants_link_or_rate_names_section_and_key(
    project: Path, text: str, says: str
) -> None:
    (project / "config/variants.conf").write_text(f"[x]\n{text}\n")
    with pytest.raises(ConfigError, match=r"variants\.conf \[x\]") as caught:
        variants.load(parameters.load({"variants": "x"}))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("key", "levels"), [("rate", "1mbit,2mbit"), ("link.server", "1mbit;2mbit")]
)
def test_a_variant_with_a_value_of_a_factors_own_is_refused(
    project: Path, key: str, levels: str
) -> None:
    (project / "config/variants.conf").write_text(f"[x]\n{key} = 5mbit\n")
    with pytest.raises(ConfigError, match="has several levels"):
        variants.load(parameters.load({"variants": "x", key.partition(".")[0]: levels}))


def test_levels_whose_variants_could_not_be_named_are_refused() -> None:
    long = "server 100mbit, loss 1%, delay 20ms, jitter 2ms and client 5mbit; none"
    with pytest.raises(ConfigError, match=r"which is too long.*link\.server"):
        parameters.load({"link": long})


def test_a_rate_that_no_script_looks_at_is_refused(project: Path) -> None:
    script = project / "resources/tests/direct-tcp"
    script.write_text('#!/bin/sh\nexec iperf -c "$1" --txstart-time "$PERFKIT_SEND_AT"\n')
    for rate in ("1mbit", "1mbit,2mbit"):
        with pytest.raises(ConfigError, match=r"no script of direct-tcp reads \$PERFKIT_RATE_BPS"):
            parameters.load({"rate": rate, "tests": "direct-tcp"})
    parameters.load({"rate": "1mbit"})  # that of tunnel-tcp does
    with pytest.raises(ConfigError, match="no script of direct-tcp"):
        parameters.load({"rate": "1mbit,2mbit"})  # direct-tcp would be compared with itself
    (project / "config/variants.conf").write_text("[x]\nrate = 1mbit\n")
    with pytest.raises(ConfigError, match=r"variants\.conf \[x\].*no script of direct-tcp"):
        variants.load(parameters.load({"variants": "x", "tests": "direct-tcp"}))
