"""apt's locks on a machine that was just booted are waited for, by recipes and by scripts/setup."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WAITS = "waiting for its lock"


@pytest.fixture
def apt(tmp_path: Path, needs_tools: object) -> dict[str, str]:
    """The environment in which apt-get has lists, locks and sources of the test's own."""
    needs_tools("apt-get")  # type: ignore[operator] # the fixture of conftest.py
    for name in ("lists/partial", "archives/partial"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "status").touch()
    conf = {
        "Dir::State::lists": tmp_path / "lists",
        "Dir::State::status": tmp_path / "status",
        "Dir::Cache": tmp_path,
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    text = "".join(f'{key} "{value}";\n' for key, value in conf.items())
    (tmp_path / "apt.conf").write_text(text)
    return {"PATH": os.environ["PATH"], "APT_CONFIG": str(tmp_path / "apt.conf"), "LC_ALL": "C"}


@pytest.fixture
def lock(tmp_path: Path, apt: dict[str, str]) -> Iterator[int]:
    """The lock of the lists, held as apt-daily holds it: another process's lock of the file."""
    held = os.open(tmp_path / "lists" / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    fcntl.lockf(held, fcntl.LOCK_EX)
    yield held
    os.close(held)


def recipes_text() -> str:
    text = (ROOT / "resources/fabfile.py").read_text()
    found = re.search(r'INSTALL = r"""\n(.*?^\}\n)', text, re.DOTALL | re.MULTILINE)
    assert found
    return f"{found[1]}\nwaiting_apt update"


def setups_text(log: Path) -> str:
    found = re.search(
        r"^waiting_apt\(\) \{.*?^\}", (ROOT / "scripts/setup").read_text(), re.S | re.M
    )
    assert found
    head = "say() { echo \"$*\"; }\napt='env LC_ALL=C apt-get -q'\nuntil_s=$(($(date +%s) + 240))\n"
    return f"{head}log={log}\n{found[0]}\nwaiting_apt update"


@pytest.mark.parametrize("whose", ["recipes", "setup"])
def test_an_update_waits_while_the_lists_are_locked_and_goes_on_when_they_are_free(
    tmp_path: Path, apt: dict[str, str], lock: int, whose: str
) -> None:
    at_once = subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=60", "update"],
        env=apt,
        capture_output=True,
        text=True,
        check=False,
    )
    assert at_once.returncode == 100  # it does not wait by itself, whatever it is told
    assert "Could not get lock" in at_once.stderr
    text = recipes_text() if whose == "recipes" else setups_text(tmp_path / "log")
    with subprocess.Popen(
        ["sh", "-c", text], env=apt, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert WAITS in process.stdout.readline()
        fcntl.lockf(lock, fcntl.LOCK_UN)
        rest = process.stdout.read()
        assert process.wait(120) == 0, rest


@pytest.mark.parametrize("whose", ["recipes", "setup"])
def test_the_lock_of_the_downloads_is_waited_for_and_any_other_error_is_not(
    tmp_path: Path, apt: dict[str, str], whose: str
) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "apt-get"
    fake.write_text(
        "#!/bin/sh\n"
        f"echo x >>{tmp_path}/calls\n"
        f"case $(grep -c x {tmp_path}/calls) in\n"
        "1) echo 'E: Could not get lock /var/cache/apt/archives/lock. It is held' >&2; exit 100 ;;\n"
        "2) exit 0 ;;\n"
        "*) echo 'E: Unable to locate package' >&2; exit 100 ;;\n"
        "esac\n"
    )
    fake.chmod(0o755)
    env = {**apt, "PATH": f"{tmp_path / 'bin'}:{apt['PATH']}"}
    text = recipes_text() if whose == "recipes" else setups_text(tmp_path / "log")
    statuses = [
        subprocess.run(["sh", "-c", text], env=env, capture_output=True, check=False).returncode
        for _ in range(2)
    ]
    assert statuses == [0, 1]
    assert (tmp_path / "calls").read_text().count("x") == 3
