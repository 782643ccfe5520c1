"""config/ec2.conf: what is needed, what is refused, and that no secret is kept there."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfkit.errors import ConfigError, NotSetUpError
from perfkit.fleet.ec2 import conf
from perfkit.fleet.provider import get_provider

PROJECT = Path(__file__).parents[4]
NEEDED = "region = eu-central-1\nimage = ami-0123456789abcdef0\n"


def loaded(folder: Path, more: str = "") -> conf.Ec2Conf:
    (folder / "ec2.conf").write_text(f"[ec2]\n{NEEDED}{more}\n")
    return conf.load(folder)


def test_the_sample_is_right_and_is_not_taken_for_the_file(tmp_path: Path) -> None:
    sample = (PROJECT / "config" / "ec2.conf.sample").read_text()
    (tmp_path / "ec2.conf.sample").write_text(sample)
    with pytest.raises(NotSetUpError, match=r"copy ec2\.conf\.sample"):
        conf.load(tmp_path)
    (tmp_path / "ec2.conf").write_text(sample)
    chosen = conf.load(tmp_path)
    written = {line.split("=")[0].strip() for line in sample.splitlines() if " =" in line}
    assert set(conf.Ec2Conf.model_fields) <= written
    assert chosen.types[0] == "c5.large"


def test_without_its_file_the_provider_asks_nobody(tmp_path: Path) -> None:
    provider = get_provider("ec2", config_dir=tmp_path)
    for ask in (provider.runs, provider.hosts, lambda: provider.preflight(2)):
        with pytest.raises(NotSetUpError):
            ask()


@pytest.mark.parametrize(
    "line",
    [
        "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "secret = x",
        "session_token = x",
        "password = x",
        "owner = AKIAIOSFODNN7EXAMPLE",
        "access_key = x",
    ],
)
def test_a_credential_in_the_file_is_refused_with_advice_and_not_shown(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(ConfigError, match="aws configure") as refused:
        loaded(tmp_path, line)
    assert line.split(" = ")[1] not in str(refused.value).replace("ec2.conf [ec2]", "")


def test_the_name_of_a_key_pair_is_no_secret(tmp_path: Path) -> None:
    assert loaded(tmp_path, "key = my-laptop").key == "my-laptop"


@pytest.mark.parametrize(
    "line",
    [
        f"controller = {'.'.join('0000')}/0",
        f"controller = {'.'.join('0000')}",
        "controller = ::/0",
        "controller = 10.0.0.0/8",
        "controller = home",
        "controller = 2001:db8::7",  # hosts have no address that it could log in at
        "region = Frankfurt",
        "image = debian",
        "group = default",
        "market = cheap",
        "max_instances = 0",
        "max_usd = 0",
        "max_usd = 1_0",
        "max_usd = nan",
        "max_instances = 010",
        "types = c5.large, m5.large, c5.large",
        "zones = eu-central-1a eu-central-1a",
        "tags = team=net, team=vpn",
        "tags = perfkit:run=mine",
        "tags = aws:x=y",
        "tags = AWS:x=y",
        f"tags = {'x' * 129}=y",
        f"tags = x={'y' * 257}",
        "tags = novalue",
        "expires_after = 0",
        "typ = t3.micro",
    ],
)
def test_what_would_be_dangerous_or_has_no_meaning_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError):
        loaded(tmp_path, line)


def test_what_is_wrong_is_said_in_our_words_and_as_they_are_spelt(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hosts have addresses of IPv4 only") as refused:
        loaded(tmp_path, "controller = 2001:db8::7")
    assert "alue error" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"input should be greater than or equal to 0\.01"):
        loaded(tmp_path, "max_usd = 0")


def test_lists_tags_and_regions_are_read_as_people_write_them(tmp_path: Path) -> None:
    chosen = loaded(
        tmp_path,
        "types = c5.large, m5.large\ntags = team=net, project=a b\n"
        "reap_regions = us-east-1 eu-central-1\ncontroller = 192.0.2.7",
    )
    assert chosen.types == ("c5.large", "m5.large")
    assert chosen.tags == {"team": "net", "project": "a b"}
    assert chosen.regions == ("eu-central-1", "us-east-1")
    assert chosen.controller == "192.0.2.7/32"
