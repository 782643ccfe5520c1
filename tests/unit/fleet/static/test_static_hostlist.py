"""static.conf and ssh_config: what is a host, how it is reached, and what is refused."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from perfkit.errors import ConfigError, NotSetUpError
from perfkit.fleet.static import hostlist, tags
from perfkit.fleet.static.hostlist import HostList
from perfkit.fleet.static.provider import TOOLS
from perfkit.fleet.static.trust import with_key
from perfkit.measure.plan import CRONTAB_BEGIN, CRONTAB_END
from perfkit.model import Role
from perfkit.ssh.keys import fingerprint, make_ssh_key

PROJECT = Path(__file__).parents[4]
KEY = make_ssh_key().public_openssh


def load(folder: Path, text: str, ssh_config: str = "") -> HostList:
    (folder / "ssh_config").write_text(ssh_config)
    common = "" if "[static]" in text else f"[static]\nssh_config = {folder}/ssh_config\n"
    (folder / "static.conf").write_text(common + text)
    return hostlist.load(folder)


PAIR = "[a]\nrole = server\naddress = 192.0.2.1\n[b]\nrole = client\n"


def test_without_a_file_the_provider_is_not_set_up_and_the_sample_names_nobodys_hosts(
    tmp_path: Path,
) -> None:
    (tmp_path / "static.conf.sample").write_text(PAIR)
    with pytest.raises(NotSetUpError, match=r"copy static\.conf\.sample"):
        hostlist.load(tmp_path)


def test_what_a_section_leaves_out_is_taken_from_ssh_config_then_from_ssh_conf(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").touch()
    (tmp_path / "ssh.conf").write_text("[ssh]\nuser = admin\nkey_file = /keys/lab\n")
    found = load(
        tmp_path,
        PAIR.replace("[b]", "[b]\naddress = lab-b\nport = 2022\n"),
        f"Host lab-b\n HostName 198.51.100.7\n User tester\n Port 2222\n"
        f" IdentityFile {tmp_path}/key\n",
    )
    a, b = found.machines
    assert (a.user, a.port, a.key_file, a.jump) == ("admin", 22, "/keys/lab", None)
    assert (b.address, b.user, b.port) == ("198.51.100.7", "tester", 2022)
    assert b.key_file == f"{tmp_path}/key"
    (tmp_path / "tester-198.51.100.7").touch()
    tokens = f"Host b\n User tester\n HostName 198.51.100.7\n IdentityFile {tmp_path}/%r-%h\n"
    assert load(tmp_path, PAIR, tokens).machines[1].key_file == f"{tmp_path}/tester-198.51.100.7"
    assert str(b) == "b (tester@198.51.100.7:2022)"


def test_a_jump_host_comes_from_a_section_or_from_proxyjump(tmp_path: Path) -> None:
    gate = "[gate]\nrole = jump\naddress = 192.0.2.9\n"
    named = load(tmp_path, PAIR + "jump = gate\n" + gate)
    assert named.machines[1].jump == named.machines[2]
    assert [machine.name for machine in named.hosts] == ["a", "b"]
    from_ssh = load(tmp_path, PAIR, "Host b\n ProxyJump me@bastion:2200\n")
    jump = from_ssh.machines[1].jump
    assert jump is not None
    assert (jump.name, jump.user, jump.port) == ("bastion", "me", 2200)
    assert [place.name for place in from_ssh.places] == ["bastion", "a", "b"]


@pytest.mark.parametrize("written", ["jump = a\n", "ProxyJump a", "ProxyJump 192.0.2.1"])
def test_the_server_or_an_address_may_be_the_way(tmp_path: Path, written: str) -> None:
    ours, theirs = (written, "") if "=" in written else ("", f"Host b\n {written}\n")
    found = load(tmp_path, PAIR + ours, theirs)
    assert found.machines[1].jump == found.machines[0]
    other = load(tmp_path, PAIR, "Host b\n ProxyJump 192.0.2.9\n").machines[1].jump
    assert other is not None
    assert (other.name, other.address) == ("192.0.2.9", "192.0.2.9")


def test_a_user_that_ssh_config_names_counts_also_if_it_is_the_one_here(tmp_path: Path) -> None:
    (tmp_path / "ssh.conf").write_text("[ssh]\nuser = admin\n")
    me = pwd.getpwuid(os.getuid()).pw_name
    found = load(tmp_path, PAIR, f"Host b\n User {me}\n")
    assert [machine.user for machine in found.machines] == ["admin", me]


def test_a_known_hosts_file_pins_only_when_it_is_named(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"192.0.2.1 {KEY}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert load(tmp_path, PAIR).machines[0].host_key == ""
    common = f"[static]\nssh_config = /dev/null\nknown_hosts = {known}\n"
    assert [m.host_key for m in load(tmp_path, common + PAIR).machines] == [KEY, ""]
    alias = tmp_path / "alias"
    alias.write_text("Host b\n Port 2222\n HostKeyAlias 192.0.2.1\n")
    found = load(tmp_path, common.replace("/dev/null", str(alias)) + PAIR)
    assert [machine.host_key for machine in found.machines] == [KEY, KEY]


@pytest.mark.parametrize(
    ("text", "ssh_config", "says"),
    [
        ("[a]\nrole = server\n", "", "client.*no section has it"),
        (PAIR.replace("client", "klient"), "", "role = 'klient'"),
        (PAIR + "[c]\nrole = client\naddress = 192.0.2.1\n", "", r"\[a\] has the same"),
        (PAIR + "jump = gat\n[gate]\nrole = jump\n", "", "did you mean 'gate'"),
        (PAIR + "host_key = ssh-dss AAAA\n", "", "perfkit trust"),
        (PAIR + "key_file = id\n", "", "absolute path"),
        (PAIR + "key_file = /keys/%h\n", "", "absolute path"),
        (PAIR + "address = -oProxyCommand=reboot\n", "", "address = '-oProxyCommand=reboot'"),
        (
            PAIR + "traffic_address = 10.0.0.256\n",
            "",
            r"\[b\]: traffic_address = '10.0.0.256'.*256",
        ),
        (PAIR + "user = $(reboot)\n", "", "user"),
        ("[a b]\nrole = server\n", "", "not a host's name"),
        (PAIR + "hunter2\n", "", r"line 8 is no key = value; compare"),
        ("[static]\nworkdir = /\n" + PAIR, "", "workdir = '/'"),
        ("[static]\nworkdir = /var/lib/../../etc\n" + PAIR, "", "workdir"),
        ("[static]\nssh_config = /nowhere\n" + PAIR, "", "not found"),
        (PAIR, "Host b\n ProxyJump one,two\n", "not one host"),
        (PAIR, "Host b\n ProxyCommand nc %h %p\n", "ProxyJump"),
        (PAIR, "Host b\n ProxyJump x\nHost x\n ProxyJump y\n", "one jump host on the way"),
        (PAIR, "Host b\n ProxyJump x\nHost x\n ProxyJump y\nHost y\n ProxyJump x\n", "one jump"),
        (PAIR + "jump = g\n[g]\nrole = jump\njump = h\n[h]\nrole = jump\njump = g\n", "", "'h,g'"),
        (PAIR + "jump = b\n", "", "no other section"),
        (PAIR + "address = 192.0.2.2:2222\n", "", "the port has its own key"),
        (PAIR.replace("192.0.2.1", "fe80::1"), "", "address = 'fe80::1'.*link-local"),
        (PAIR + "traffic_address = fe80::1%eth0\n", "", "traffic_address.*link-local"),
        (PAIR, "Host b\n Wrong yes\n", "ssh_config"),
    ],
)
def test_what_is_wrong_is_said_with_its_section(
    tmp_path: Path, text: str, ssh_config: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text, ssh_config)


def test_the_sample_can_be_copied_and_its_hosts_are_not_pinned(tmp_path: Path) -> None:
    sample = (PROJECT / "config" / "static.conf.sample").read_text()
    found = load(tmp_path, sample)
    assert [machine.name for machine in found.of_role(Role.CLIENT)] == ["lab-1", "lab-2"]
    assert {place.host_key for place in found.places} == {""}


def test_a_file_may_begin_with_an_editors_mark(tmp_path: Path) -> None:
    (tmp_path / "static.conf").write_text(PAIR, encoding="utf-8-sig")
    assert [machine.name for machine in hostlist.load(tmp_path).machines] == ["a", "b"]


def test_a_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(KEY)
    said = subprocess.check_output(["ssh-keygen", "-lf", tmp_path / "key.pub"], text=True)
    assert said.split()[1] == fingerprint(KEY)


def test_a_key_is_written_into_its_section_and_nothing_else_is_touched(tmp_path: Path) -> None:
    text = "# mine\n[a]\nrole = server  # the first\nhost_key = old\n\n[b]\nrole = client"
    a, b = load(tmp_path, PAIR).machines
    once = with_key(with_key(text, a, KEY), b, KEY)
    assert once.splitlines() == [
        "# mine",
        "[a]",
        f"host_key = {KEY}",
        "role = server  # the first",
        "",
        "[b]",
        f"host_key = {KEY}",
        "role = client",
    ]
    assert with_key(once, b, KEY) == once


def test_a_jump_host_known_from_ssh_config_gets_a_section_with_its_key(tmp_path: Path) -> None:
    jump = load(tmp_path, PAIR, "Host b\n ProxyJump me@bastion:2200\n").machines[1].jump
    assert jump is not None
    again = load(tmp_path, with_key(PAIR, jump, KEY), "Host b\n ProxyJump me@bastion:2200\n")
    pinned = again.machines[1].jump
    assert pinned is not None
    assert (pinned.host_key, pinned.user, pinned.port) == (KEY, "me", 2200)


def test_a_tag_that_makes_no_sense_is_nobodys() -> None:
    good = {"run": "r", "name": "n", "role": "client", "token": "t", "owner": "o", "expires": "9e9"}
    said = {f"tag.{key}": (value,) for key, value in good.items()}
    assert tags.find_tag(said) is not None
    for key, wrong in [
        ("run", "../x"),
        ("role", "king"),
        ("expires", "soon"),
        ("expires", "9" * 40),
        ("expires", "nan"),
    ]:
        assert tags.find_tag({**said, f"tag.{key}": (wrong,)}) is None, key
    assert tags.find_tag({}) is None


def test_the_host_agent_looks_for_the_marks_that_the_crontab_has() -> None:
    script = (PROJECT / "perfkit/fleet/static/host_agent.sh").read_text()
    assert f"/^{CRONTAB_BEGIN}$/,/^{CRONTAB_END}$/d" in script


def test_existing_hosts_must_have_what_the_recipes_would_install() -> None:
    fabfile = (PROJECT / "resources" / "fabfile.py").read_text()
    recipe = set(re.findall(r'^    "([a-z0-9]+)": \("', fabfile, re.MULTILINE))
    assert "iperf" in recipe
    assert recipe <= {*TOOLS}


def test_addresses_of_ipv6_are_kept_as_programs_print_them(tmp_path: Path) -> None:
    text = PAIR.replace("192.0.2.1", "2001:DB8:0:0::1") + "traffic_address = FD77:0::2\n"
    found = load(tmp_path, text)
    assert found.of_role(Role.SERVER)[0].address == "2001:db8::1"
    assert found.of_role(Role.CLIENT)[0].traffic_address == "fd77::2"
