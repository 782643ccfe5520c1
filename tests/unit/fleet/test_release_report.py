"""How a release says what it did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perfkit.fleet.provider import ListedHost, ReleaseReport, UnaskedHost
from perfkit.fleet.reap import FoundFleet
from perfkit.model import Role


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


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        ((None, None, None), "a-run: 3 hosts at static, owner "),
        ((None, 20, 19), "a-run: 40 hosts on 3 machines at static, owner "),
        ((None, 0, 0), "a-run: 1 host on 3 machines at static, owner "),
    ],
)
def test_hosts_that_are_packed_are_counted_beside_their_machines(
    packed: tuple[int | None, ...], said: str
) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    listed = tuple(
        ListedHost(
            run_id="a-run",
            name=f"host-{n}",
            role=Role.CLIENT,
            address="192.0.2.1",
            expires_utc=until,
            owner="me",
            identity="it",
            n_packed=carried,
        )
        for n, carried in enumerate(packed)
    )
    assert str(FoundFleet(provider="static", run_id="a-run", hosts=listed, residue=())).startswith(
        said
    )


def test_a_machine_that_could_not_be_asked_is_named_once_not_for_each_of_its_hosts() -> None:
    silent = tuple(
        UnaskedHost(machine="lab-1", reason="no answer", name=f"client-{n}") for n in range(3)
    )
    fleet = FoundFleet(provider="static", run_id="a-run", hosts=(), residue=(), unasked=silent)
    assert str(fleet).count("lab-1 could not be asked: no answer") == 1
