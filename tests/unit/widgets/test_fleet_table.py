"""The view of the fleet: plain lines without a person, a table with one, never a lost failure."""

import io
from pathlib import Path

import pytest

from perfkit.fleet.inventory import Inventory
from perfkit.journal import Journal
from perfkit.model import HostState, Role
from perfkit.widgets import fleet_table
from perfkit.widgets.fleet_table import FleetView


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def test_without_a_person_the_last_line_has_the_final_counts(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    table, out = Inventory(journal), io.StringIO()
    with FleetView(table, journal, "launch", out=out) as view:
        table.add("client-001", Role.CLIENT)
        table.add("client-002", Role.CLIENT)
        table.move("client-002", HostState.FAILED, reason="LaunchError: no")
        view.note("T0 in 5 s")
    last = out.getvalue().splitlines()[-1]
    assert "launch: 1 requested, 1 failed; T0 in 5 s (" in last


def test_with_a_person_failed_hosts_are_named_and_escaped(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    monkeypatch.delenv("PERFKIT_PROGRESS", raising=False)
    shown: list[dict[str, str]] = []

    class Screen:
        def display(self, bundle: dict[str, str], *, raw: bool) -> None:
            shown.append(bundle)

        update = display

    monkeypatch.setattr(fleet_table, "DisplayHandle", Screen)
    table = Inventory(journal)
    with FleetView(table, journal, "configure"):
        table.add("client-001", Role.CLIENT)
        table.move(
            "client-001", HostState.FAILED, reason="PromptError: <b>?</b>", log=Path("c.log")
        )
    page = shown[-1]["text/html"]
    assert "FAILED client-001: PromptError: &lt;b&gt;?&lt;/b&gt; (log: c.log)" in page
    assert "<b>?" not in page
    assert shown[-1]["text/plain"] == "configure: 1 failed"


def test_the_view_no_longer_listens_after_its_block(journal: Journal) -> None:
    table, out = Inventory(journal), io.StringIO()
    with FleetView(table, journal, "launch", out=out):
        pass
    before = out.getvalue()
    table.add("client-001", Role.CLIENT)
    assert out.getvalue() == before
