"""What lies in the repository: the folders of the house, scripts that run anywhere, no leaks."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prerequisites import require

ROOT = Path(__file__).parents[2]
TOP = {
    "config",
    "notebooks",
    "perfkit",
    "resources",
    "runs",
    "scripts",
    "tests",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "environment.yml",
    "pyproject.toml",
}
SCRIPTS = ("scripts/setup", "scripts/campaign", "scripts/test", ".ci/run")

MACHINE_PATHS = re.compile(r"/work/(main|shared)|/home/(?!\w*[{<$*])\w+/|/Users/|\.pyenv/")
REGISTRIES = re.compile(r"extra-index-url|--index-url|--find-links")
ADDRESS = re.compile(r"(?<![\w.+\\-])[\w.+-]+@(?:[a-z0-9-]+\.)+[a-z]{2,}\b", re.IGNORECASE)
# Reserved names (RFC 2606, 6761), and algorithm names that look like addresses.
HARMLESS = re.compile(
    r"@(?:[\w-]+\.)*(example(\.\w+)?|test|invalid|localhost|openssh\.com|libssh\.org)$"
)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Every file git has or would take."""
    known = (ROOT / ".git").exists() and shutil.which("git")
    require(known, "not a git checkout: what belongs to the project is not known")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def test_the_top_level_holds_the_rooms_of_the_house_and_nothing_else(files: list[Path]) -> None:
    top = {path.relative_to(ROOT).parts[0] for path in files}
    assert {name for name in top if not name.startswith(".")} - TOP == set()
    assert TOP - top == set()


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRIES], ids=["paths", "registries"])
def test_no_file_knows_the_machine_it_was_written_on(
    files: list[Path], pattern: re.Pattern[str]
) -> None:
    others = [path for path in files if path != Path(__file__)]
    found = {str(path.relative_to(ROOT)): pattern.search(text_of(path)) for path in others}
    assert {name: match.group() for name, match in found.items() if match} == {}


def test_no_file_holds_a_mail_address(files: list[Path]) -> None:
    found = {
        (str(path.relative_to(ROOT)), address)
        for path in files
        if "data" not in path.parts  # raw output of tools, whose authors sign it
        for address in ADDRESS.findall(text_of(path))
        if not HARMLESS.search(address)
    }
    assert found == set()


def test_no_file_is_a_private_key(files: list[Path]) -> None:
    marker = "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n"
    assert [path for path in files if marker in text_of(path)] == []


def shell_scripts(files: list[Path]) -> list[Path]:
    return [path for path in files if text_of(path).startswith("#!/bin/sh")]


def test_every_script_is_executable_and_posix_sh_reads_it(files: list[Path]) -> None:
    scripts = shell_scripts(files)
    assert {ROOT / name for name in SCRIPTS} <= set(scripts)
    shell = shutil.which("dash") or "/bin/sh"
    for script in scripts:
        captured = script.is_relative_to(ROOT / "tests")  # how a fixture was made, to be read
        assert captured or script.stat().st_mode & 0o111 == 0o111, script
        subprocess.run([shell, "-n", script], check=True)


@pytest.mark.parametrize("command", ["scripts/campaign", "scripts/test"])
def test_each_command_calls_setup_first(command: str) -> None:
    assert "scripts/setup" in (ROOT / command).read_text()


def test_two_test_modules_of_one_name_lie_in_packages(files: list[Path]) -> None:
    modules = [p for p in files if p.name.startswith("test_") and p.suffix == ".py"]
    plain = [p.name for p in modules if not (p.parent / "__init__.py").is_file()]
    assert {name for name in plain if plain.count(name) > 1} == set()
