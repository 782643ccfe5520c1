"""An interactive campaign, done only in the notebooks, by a script that clicks and types.

    python tests/benchmarks/interactive_campaign.py --clients 20 --duration 10 --shots /tmp/shots

Starts `perfkit lab` on a copy of the project and Chromium beside it, goes from 00_start to
06_report, and prints the seconds each notebook took and what the report says. Needs root,
Chromium, and the packages of the development set.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.conftest import ARGUMENTS, CHROMIUM
from browser.island import Island
from browser.person import Desk, Person, campaign
from project_copy import copy_project

from perfkit.campaign import phases
from perfkit.fleet.local.provider import LocalProvider
from perfkit.runs.folder import list_runs


def release_all(runs_dir: Path) -> None:
    """End what an interrupted campaign has left."""
    for run in list_runs(runs_dir):
        LocalProvider().release(run.id)


def main() -> None:
    """Run the campaign, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--duration", type=int, default=10, help="seconds a test runs")
    parser.add_argument("--shots", type=Path, default=Path("screenshots"))
    parser.add_argument("--dark", action="store_true")
    chosen = parser.parse_args()
    began, island = time.monotonic(), Island()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        project = copy_project(home / "project")
        executable = island.executable(CHROMIUM, home)
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        look = browser.new_context(
            viewport={"width": 1400, "height": 1000},
            color_scheme="dark" if chosen.dark else "light",
        )
        with Desk(project, home, island) as desk:
            person = Person(look.new_page(), desk, chosen.shots)
            try:
                campaign(person, clients=chosen.clients, duration_s=chosen.duration, name="by-hand")
            except BaseException:
                person.screenshot("failed")
                raise
            finally:
                release_all(project / "runs")
        browser.close()
        island.close()
        report = phases.report(phases.find_run("by-hand", runs_dir=str(project / "runs")))
        print(report.text())
    print(f"{chosen.clients} clients, {time.monotonic() - began:.0f} s; pictures: {chosen.shots}")


if __name__ == "__main__":
    main()
