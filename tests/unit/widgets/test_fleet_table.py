"""The view of the fleet: plain lines without a person, a table with one, never a lost failure."""

import io
import threading
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from slow_fleet import SlowSession, launch

from perfkit.errors import RunError, StoppedError
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.provider import ReleaseReport
from perfkit.model import HostState, Role
from perfkit.runs.journal import Journal
from perfkit.widgets import fleet_grid
from perfkit.widgets.background import in_background
from perfkit.widgets.fleet_snapshot import ranges
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


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What plain HTML a notebook was given, while a person watches."""
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    monkeypatch.delenv("PERFKIT_PROGRESS", raising=False)
    bundles: list[dict[str, str]] = []

    class Place:
        def display(self, bundle: object, *, raw: bool = False) -> None:
            assert raw == isinstance(bundle, dict)

        def update(self, bundle: dict[str, str], *, raw: bool) -> None:
            assert raw
            bundles.append(bundle)

    monkeypatch.setattr(fleet_grid, "DisplayHandle", Place)
    return bundles


def test_with_a_person_failed_hosts_are_named_with_their_log_and_escaped(
    journal: Journal, shown: list[dict[str, str]]
) -> None:
    table = Inventory(journal)
    with FleetView(table, journal, "configure"):
        table.add("client-001", Role.CLIENT)
        reason = "PromptError: \x1b[31m<b>?</b>"
        table.move("client-001", HostState.FAILED, reason=reason, log=Path("c.log"))
    table_of_failed, last = shown[-2]["text/html"], shown[-1]
    assert ">client-001</td>" in table_of_failed
    assert ">PromptError: &lt;b&gt;?&lt;/b&gt;</td>" in table_of_failed
    assert '<a href="c.log">c.log</a>' in table_of_failed
    assert "failed: client-001" in last["text/html"]
    for page in (table_of_failed, last["text/html"]):
        assert "<b>?" not in page
        assert "\x1b" not in page
    assert last["text/plain"] == "configure: 1 failed"


def test_a_stop_interrupts_the_phase_and_releases_before_the_block_ends(journal: Journal) -> None:
    released: list[str] = []

    def release() -> ReleaseReport:
        released.append("all")
        return ReleaseReport(released=("client-001",))

    view = FleetView(Inventory(journal), journal, "launch", on_stop=release, out=io.StringIO())

    def phase() -> None:
        with view:
            # private: as a click on the button does, from another thread
            threading.Thread(target=view._stop.ask).start()
            threading.Event().wait(30)

    with pytest.raises(StoppedError, match="launch: stopped by a person; released 1 host"):
        phase()
    assert released == ["all"]


def test_an_interrupt_that_is_no_stop_releases_nothing(journal: Journal) -> None:
    def release() -> ReleaseReport:
        raise AssertionError("nobody asked for it")

    view = FleetView(Inventory(journal), journal, "launch", on_stop=release, out=io.StringIO())
    with pytest.raises(KeyboardInterrupt), view:
        raise KeyboardInterrupt


def test_a_stop_that_comes_too_late_interrupts_nothing(journal: Journal) -> None:
    view = FleetView(Inventory(journal), journal, "launch", out=io.StringIO())
    with view:
        pass
    # private: as a click on the button does
    assert not view._stop.ask()


def test_a_phase_in_the_background_is_stopped_in_its_thread_and_its_hosts_are_released(
    tmp_path: Path,
) -> None:
    session = SlowSession(tmp_path, 9, batch_s=0.05)
    at_work = threading.Event()

    def wait_for_ever(session: SlowSession) -> str:
        with FleetView(session.inventory, session.journal, "wait", on_stop=session.fleet.release):
            at_work.set()
            while True:
                threading.Event().wait(0.01)

    going = in_background(wait_for_ever, session)
    assert at_work.wait(30)
    with pytest.raises(RunError, match="still runs in the background"):
        in_background(launch, session)
    with pytest.raises(TimeoutError, match="it still runs"):
        going.result(timeout_s=0)
    going.stop()
    with pytest.raises(StoppedError, match="stopped by a person"):
        going.result(timeout_s=30)
    assert going.done
    assert in_background(launch, session).result(timeout_s=60) == "launched"  # free again
    assert len(session.left) == 10


def test_what_a_phase_in_the_background_raises_comes_with_its_result(tmp_path: Path) -> None:
    def fail(_: SlowSession) -> None:
        raise RunError("no")

    going = in_background(fail, SlowSession(tmp_path, 1))
    with pytest.raises(RunError, match="no"):
        going.result(timeout_s=30)
    assert "ended with RunError" in repr(going)


def test_names_in_a_row_are_said_in_short() -> None:
    names = ["server", "client-001", "client-002", "client-003", "client-005"]
    assert ranges(names) == "server, client-001 to client-003, client-005"
    assert ranges([]) == ""


def test_the_view_no_longer_listens_after_its_block(journal: Journal) -> None:
    table, out = Inventory(journal), io.StringIO()
    with FleetView(table, journal, "launch", out=out):
        pass
    before = out.getvalue()
    table.add("client-001", Role.CLIENT)
    assert out.getvalue() == before


def test_a_stop_ends_with_one_line_in_a_notebook_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (
        "import io, threading\nfrom pathlib import Path\n"
        "from perfkit.fleet.inventory import Inventory\n"
        "from perfkit.fleet.provider import ReleaseReport\n"
        "from perfkit.runs.journal import Journal\n"
        "from perfkit.widgets.fleet_table import FleetView\n"
        f"log = Journal(Path({str(tmp_path / 'journal.jsonl')!r}))\n"
        "view = FleetView(Inventory(log), log, 'launch', on_stop=ReleaseReport, out=io.StringIO())\n"
        "with view:\n"
        # private: as a click on the button does, from another thread
        "    threading.Thread(target=view._stop.ask).start()\n"
        "    threading.Event().wait(30)\n"
    )
    shell = InteractiveShell()
    result = shell.run_cell(source)
    said = capsys.readouterr().out
    assert isinstance(result.error_in_exec, StoppedError)
    assert result.error_in_exec.__suppress_context__
    assert said == "StoppedError: launch: stopped by a person; released 0 hosts\n"
