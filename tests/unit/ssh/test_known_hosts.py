"""SSH key pairs and the pins of hosts."""

from __future__ import annotations

from pathlib import Path

import paramiko

from perfkit.model import Host, Role
from perfkit.ssh.keys import make_ssh_key
from perfkit.ssh.known_hosts import find_pin, pin_hosts


def host(name: str, address: str, port: int = 22) -> Host:
    key = make_ssh_key().public_openssh
    return Host(name=name, role=Role.CLIENT, address=address, port=port, host_key=key)


def test_an_ssh_key_pair_belongs_together_and_its_repr_hides_the_private_half() -> None:
    key = make_ssh_key()
    assert key.public_openssh.startswith("ssh-ed25519 AAAA")
    assert "PRIVATE" not in repr(key)
    assert make_ssh_key() != key


def test_a_pinned_host_is_found_again_by_address_and_port(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "known_hosts"
    plain, odd = host("a", "192.0.2.1"), host("b", "192.0.2.1", 2222)
    pin_hosts(path, [plain, odd])
    assert find_pin(path, "192.0.2.1", 22) == plain.host_key
    assert find_pin(path, "192.0.2.1", 2222) == odd.host_key
    assert find_pin(path, "192.0.2.2", 22) is None
    assert path.stat().st_mode & 0o777 == 0o600


def test_pins_are_in_the_form_that_openssh_and_paramiko_read(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    pinned = host("b", "192.0.2.1", 2222)
    pin_hosts(path, [pinned])
    known = paramiko.HostKeys(str(path)).lookup("[192.0.2.1]:2222")
    assert known is not None
    assert known["ssh-ed25519"].get_base64() == pinned.host_key.split()[1]


def test_a_new_host_at_an_old_address_replaces_its_pin_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    old, other, new = host("a", "192.0.2.1"), host("b", "192.0.2.2"), host("c", "192.0.2.1")
    pin_hosts(path, [old, other])
    pin_hosts(path, [new])
    assert find_pin(path, "192.0.2.1", 22) == new.host_key
    assert find_pin(path, "192.0.2.2", 22) == other.host_key
    assert old.host_key not in path.read_text()


def test_a_file_that_is_not_there_pins_nobody(tmp_path: Path) -> None:
    assert find_pin(tmp_path / "none", "192.0.2.1", 22) is None


def test_of_two_pins_the_first_counts_until_the_file_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text("# ours\n192.0.2.1 ssh-ed25519 AAAA1\n192.0.2.1 ssh-ed25519 AAAA2\n")
    assert find_pin(path, "192.0.2.1", 22) == "ssh-ed25519 AAAA1"
    path.write_text("192.0.2.1 ssh-ed25519 AAAA3\n")
    assert find_pin(path, "192.0.2.1", 22) == "ssh-ed25519 AAAA3"
    path.unlink()
    assert find_pin(path, "192.0.2.1", 22) is None


def test_a_host_that_is_pinned_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    pin_hosts(path, [])
    assert path.read_text() == ""
    one, other = host("a", "192.0.2.1"), host("b", "192.0.2.2")
    pin_hosts(path, [one, other])
    written = path.stat().st_ino
    pin_hosts(path, [other])
    assert path.stat().st_ino == written
