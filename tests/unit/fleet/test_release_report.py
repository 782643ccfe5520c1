"""How a release says what it did."""

from __future__ import annotations

import pytest

from perfkit.fleet.provider import ReleaseReport


@pytest.mark.parametrize(
    ("besides", "said"),
    [
        ((), "2 hosts of demo"),
        (("key pair k",), "2 hosts of demo; also key pair k"),
        (
            tuple(f"template {n}" for n in range(8)),
            "2 hosts of demo; also template 0, template 1, template 2, template 3, template 4 "
            "and 3 more",
        ),
    ],
)
def test_a_release_counts_hosts_and_names_a_handful_of_what_else_went(
    besides: tuple[str, ...], said: str
) -> None:
    report = ReleaseReport(released=("server", "client-001"), besides=besides)
    assert report.summary(of="demo") == said


def test_what_is_still_there_comes_first() -> None:
    report = ReleaseReport(released=("server",), leaked=("client-001 (i-1)",))
    assert str(report).splitlines() == ["STILL THERE: client-001 (i-1)", "released 1 host"]
    assert "".join(f"<p>{line}</p>" for line in str(report).splitlines()) == report._repr_html_()
