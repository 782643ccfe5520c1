"""What looks like a secret is refused, and said without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import ConfigError
from perfkit.notebook import parameters as notebook
from perfkit.settings import parameters as settings
from perfkit.settings.parameters import Parameters
from perfkit.settings.secrets import looks_secret, refuse_arguments, refuse_secrets

KEY = "AKIAIOSFODNN7CANARY0"
SECRETS = [
    KEY,
    "ASIA" + "Z" * 16,
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "ghp_" + "a1" * 18,
    "https://user:hunter2@example.org/",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln",
]


@pytest.mark.parametrize("value", SECRETS)
def test_a_value_in_the_form_of_a_secret_is_refused_and_not_repeated(value: str) -> None:
    for name in ("name", "tests", "anything"):
        with pytest.raises(ConfigError) as refused:
            refuse_secrets({name: value}, source="parameters")
        assert value.splitlines()[0][:12] not in str(refused.value)
        assert "name a profile" in str(refused.value)


@pytest.mark.parametrize(
    "name", ["password", "db_passwd", "SECRET", "aws_secret_access_key", "api_key", "auth_token"]
)
def test_a_name_that_says_secret_is_refused(name: str) -> None:
    assert looks_secret(name, "x")
    assert not looks_secret(name, "")


def test_what_campaigns_are_made_of_is_no_secret() -> None:
    for name, field in Parameters.model_fields.items():
        assert not looks_secret(name, field.default)
    for name, value in {
        "key_file": "~/.ssh/id_ed25519",
        "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDToXonKnQnjhw3vV8GFX8MOK3krJNTuJIbxpLQGLa1t",
        "runs_dir": "/srv/measurements/2026/openvpn/site-a/batch-07/runs",
        "run": "20261122T155032Z-thousand",
        "commit": "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "endpoint_url": "http://127.0.0.1:5000/",
        "profile": "measurements",
    }.items():
        assert not looks_secret(name, value), name


@given(
    st.from_regex(r"(/[A-Za-z0-9]{1,12}){1,8}", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9_-]{0,12}", fullmatch=True),
)
def test_the_project_may_lie_in_any_folder(project: str, name: str) -> None:
    run = f"{project}/runs/20261122T230354Z-{name}"
    assert not looks_secret("runs_dir", f"{project}/runs")
    assert not looks_secret("config_dir", f"{run}/config")


def test_a_path_of_the_length_of_a_key_is_no_secret() -> None:
    for path in (
        "/tmp/adopt/perfkit/runs/20261122T230354Z",
        "/srv/MeasurementsOfTheYear2026InBuilding",
        "Runs/OpenVPN/2026/November/SiteA/Batch07",
    ):
        assert len(path) == 40
        assert not looks_secret("config_dir", path)
        assert not looks_secret("config_dir", f"{path}-campaign/config")


@given(st.from_regex(r"[a-z][a-z0-9_-]{0,40}", fullmatch=True))
def test_a_run_may_have_any_name(name: str) -> None:
    assert not looks_secret("name", name)


def test_parameters_and_files_are_checked_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="looks like a secret") as refused:
        settings.load({"clients": 2, "aws_secret": KEY})
    assert KEY not in str(refused.value)
    (tmp_path / "ssh.conf").write_text(f"[ssh]\nkey_file = {KEY}\n")
    with pytest.raises(ConfigError, match=r"ssh\.conf \[ssh\]: key_file = '\*\*\*'"):
        settings.load({"config_dir": str(tmp_path)})


def test_a_notebook_refuses_what_papermill_has_put_into_it() -> None:
    cell = f'# Parameters\nclients = 2\napi_key = "{KEY}"\n'
    with pytest.raises(ConfigError, match="delete that and change the secret") as refused:
        notebook.parameters({"In": ["", cell]})
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "name", KEY],
        ["-p", "password", "x"],
        ["-y", f"name: {KEY}"],
        ["-r", "api_key", "abc"],
    ],
)
def test_the_campaign_script_asks_before_papermill_writes(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "perfkit.settings.secrets", "-p", "clients", "3", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "looks like a secret" in done.stderr
    assert KEY not in done.stderr
    refuse_arguments(["-p", "clients", "20", "-p", "provider", "static", "-p"])
