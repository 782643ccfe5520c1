"""pyproject.toml is the one list of dependencies; conda, pins and wheel agree with it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from wheels import build_wheel

from perfkit.doctor import load_needs
from perfkit.fleet.provider import ENTRY_POINT_GROUP, Provider

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA_ONLY = {"python", "pip", "openssh"}  # what is not a Python package, or brings them


def bounds(requirements: list[str]) -> dict[str, str]:
    """Canonical name -> specifier."""
    parsed = [Requirement(text) for text in requirements]
    return {canonicalize_name(r.name): str(r.specifier) for r in parsed}


def group(name: str) -> list[str]:
    """A dependency group with the groups it includes."""
    found: list[str] = []
    for entry in PROJECT["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return found


def test_conda_and_pyproject_name_the_same_packages_and_lower_bounds() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip_section,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    from_pip = [entry for entry in pip_section if entry != "--editable ."]
    conda = bounds([entry for entry in listed if isinstance(entry, str)] + from_pip)
    declared = bounds(PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"])
    assert {name: spec for name, spec in conda.items() if name not in CONDA_ONLY} == declared
    assert conda["python"] == PROJECT["project"]["requires-python"]
    assert "--editable ." in pip_section


def test_conda_brings_the_programs_that_every_host_needs_and_nothing_unknown() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = set(bounds([entry for entry in listed if isinstance(entry, str)]))
    needs = [need for need in load_needs() if need.conda != "-"]
    assert {need.conda for need in needs if need.needed_for == "all"} <= conda
    assert CONDA_ONLY - {"pip"} <= {need.conda for need in needs}


def test_every_declared_package_has_one_exact_pin_within_its_bounds() -> None:
    lines = (ROOT / "scripts" / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [p for p in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", p)] == []
    version_of = {canonicalize_name(name): v for name, _, v in (p.partition("==") for p in pins)}
    assert len(version_of) == len(pins)
    declared = [
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *group("dev"),
    ]
    for requirement in map(Requirement, declared):
        assert version_of[canonicalize_name(requirement.name)] in requirement.specifier, requirement


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel of this tree."""
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as archive:
        return set(archive.namelist())


def tracked(folder: str) -> set[str]:
    """What git has below a folder, as names."""
    command = ["git", "ls-files", "-z", folder]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


def test_the_wheel_has_every_file_of_the_package_and_of_a_project_folder_and_no_other(
    wheel_names: set[str],
) -> None:
    pictures = tracked("resources/readme")
    starter = (tracked("resources") | tracked("config") | tracked("notebooks")) - pictures
    expected = tracked("perfkit") | {f"perfkit/starter/{name}" for name in starter}
    assert {name for name in wheel_names if ".dist-info/" not in name} == expected


def test_every_registered_provider_loads_and_keeps_the_contract(tmp_path: Path) -> None:
    for sample in (ROOT / "config").glob("*.conf.sample"):
        shutil.copy(sample, tmp_path / sample.stem)
    points = entry_points(group=ENTRY_POINT_GROUP)
    assert {"local", "static"} <= points.names
    for point in points:
        assert isinstance(point.load()(config_dir=tmp_path), Provider), point.name


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """A folder with a clone called perfkit in it, which looks like a namespace package there."""
    (tmp_path / "perfkit").symlink_to(ROOT, target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["-c", "import perfkit.campaign.phases, perfkit.runs.folder; print(perfkit.__version__)"],
        ["-m", "perfkit", "--version"],
        ["-m", "pytest", "--co", "-q", "perfkit/tests/unit/test_units.py"],
    ],
    ids=["import", "command", "pytest"],
)
def test_the_package_is_found_from_the_folder_above_a_clone_that_has_its_name(
    above: Path, words: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, *words], cwd=above, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_notebook_that_runs_in_the_folder_above_a_clone_finds_the_package(above: Path) -> None:
    cell = nbformat.v4.new_code_cell("import perfkit.campaign.phases\nprint(perfkit.__file__)")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(book, above / "a.ipynb")
    words = ["papermill", "a.ipynb", "out.ipynb", "--cwd", str(above), "--no-progress-bar"]
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=above, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (output,) = nbformat.read(above / "out.ipynb", as_version=4).cells[0].outputs
    assert Path(output.text.strip()) == ROOT / "perfkit" / "__init__.py"
