"""Keys that a crash does not change, in a format that OpenSSH itself reads."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit.errors import ConfigError
from perfkit.ssh.keys import derive_ssh_key, make_ssh_key

SECRET = make_ssh_key().private_openssh


def test_the_same_secret_and_label_give_the_same_key_to_the_byte() -> None:
    first, again = (derive_ssh_key(SECRET, "host client-001") for _ in range(2))
    assert (first, first.private_openssh) == (again, again.private_openssh)


def test_another_label_and_another_secret_give_other_keys() -> None:
    keys = {
        derive_ssh_key(secret, label).public_openssh
        for secret in (SECRET, make_ssh_key().private_openssh)
        for label in ("host client-001", "host client-002")
    }
    assert len(keys) == 4


def test_openssh_reads_the_private_half_and_finds_the_public_one(
    tmp_path: Path, needs_tools: Callable[..., None]
) -> None:
    needs_tools("ssh-keygen")
    path = tmp_path / "key"
    for number in range(8):  # the padding depends on nothing, the check number on the key
        key = derive_ssh_key(SECRET, f"host {number}")
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(key.private_openssh)
        done = subprocess.run(
            ["ssh-keygen", "-y", "-P", "", "-f", path], capture_output=True, text=True, check=True
        )
        assert done.stdout.split()[:2] == key.public_openssh.split()


@pytest.mark.parametrize("secret", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAA\n"])
def test_a_secret_that_is_no_key_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ConfigError, match="not an ed25519 key") as refused:
        derive_ssh_key(secret, "host server")
    assert not secret or secret not in str(refused.value)
