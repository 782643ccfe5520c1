"""Bad input is refused before anything is launched, with file, key, value and remedy."""

import shutil
from pathlib import Path

import pytest
from small_project import make_small_project

from perfkit.errors import ConfigError, did_you_mean
from perfkit.model import NetworkPath
from perfkit.settings import parameters as settings
from perfkit.settings.parameters import Parameters

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder whose config and scripts a test may spoil."""
    conf = "[direct-tcp]\nduration = 10\n\n[tunnel-tcp]\nduration = 10 # s\npath = tunnel\ntime = 1.5\n"
    return make_small_project(tmp_path, monkeypatch, conf=conf, file="tests.conf.sample")


def refused(parameters: dict[str, object] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        settings.load(parameters)
    return caught.value


def test_defaults_are_valid_and_files_win_over_samples(project: Path) -> None:
    shutil.copy(project / "config/tests.conf.sample", project / "config/tests.conf")
    (project / "config/tests.conf.sample").write_text("[broken\n")
    chosen = settings.load()
    assert chosen.parameters == Parameters()
    assert [t.name for t in chosen.tests] == ["direct-tcp", "tunnel-tcp"]
    assert chosen.tests[1].path is NetworkPath.TUNNEL
    assert chosen.tests[1].time_min == 1.5
    assert chosen.runs_dir == project / "runs"


def test_a_test_that_is_not_in_all_runs_where_it_is_named(project: Path) -> None:
    sample = PROJECT / "config" / "tests.conf.sample"
    shutil.copy(sample, project / "config" / "tests.conf")
    shutil.rmtree(project / "resources" / "tests")
    shutil.copytree(PROJECT / "resources" / "tests", project / "resources" / "tests")
    assert [it.name for it in settings.load().tests] == ["direct-tcp", "tunnel-tcp"]
    named = {"tests": "tunnel-latency,tunnel-tcp,idle"}
    assert [it.name for it in settings.load(named).tests] == [
        "tunnel-tcp",
        "tunnel-latency",
        "idle",
    ]
    conf = "[direct-tcp]\nduration = 10\nin_all = no\n"
    (project / "config" / "tests.conf").write_text(conf)
    assert "names no test; known are: direct-tcp" in str(refused())


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("clients", 0, "greater than or equal to 1"),
        ("clients", -1, "greater than or equal to 1"),
        ("clients", 10**9, "less than or equal to 4000"),
        *(("clients", v, "a whole number") for v in ("ten", 2.5, "1_0", "010", True, " 5", "5.0")),
        *(("threads", v, "a whole number") for v in ("1e2", "+5", "\uff15", False)),
        *(("expires_min", v, "a number is needed") for v in ("1_0", "060", True, "inf", "nan")),
        *(("duration_s", v, "too short for a window") for v in ("5e-324", 0.5)),
        ("quorum", "1e-300", "greater than or equal to 0.00025"),
        ("tests", "direct-tcp,direct-tcp", "named twice, and runs once; name it once"),
        ("tests", "tunnel-tcp, direct-tcp ,tunnel-tcp", "named twice"),
        ("client", 5, "did you mean 'clients'?"),
        ("tests", "direct-tpc", "did you mean 'direct-tcp'?"),
        ("tests", " , ", "names no test"),
        ("name", "../etc", "string should match"),
        ("duration_s", -1, "greater than or equal to 0"),
        ("keep_fleet", "perhaps", "boolean"),
        ("starter", "at", "'epoch' or 'cron'"),
        ("quorum", 0, "greater than or equal to 0.00025"),
        ("config_dir", "/nonexistent", "no such folder"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value_and_what_to_give(
    project: Path, key: str, value: object, says: str
) -> None:
    error = refused({key: value})
    assert error.source == "parameters"
    assert (error.key, error.value) == (key, value)
    assert says in str(error)
    assert error.remedy


def test_a_test_of_phases_is_not_made_too_short_by_a_parameter(project: Path) -> None:
    conf = "[tunnel-tcp]\nduration = 60\npath = tunnel\nkind = idle\n"
    (project / "config/tests.conf").write_text(conf)
    assert settings.load({"duration_s": 45}).tests[0].duration_s == 45
    error = refused({"duration_s": 10})
    assert (error.source, error.key) == ("parameters", "duration_s")
    assert "give 30 seconds or more" in str(error)


@pytest.mark.parametrize(("text", "meant"), [("no", False), ("True", True), ("false", False)])
def test_a_flag_given_as_text_means_what_it_says(project: Path, text: str, meant: bool) -> None:
    assert settings.load({"keep_fleet": text}).parameters.keep_fleet is meant


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("tests", "[direct-tcp]\nduraton = 5\n", "did you mean 'duration'?"),
        *(
            ("tests", f"[direct-tcp]\nduration = {value}\n", "a number is needed")
            for value in ("soon", "1_0", "010", "True", "nan", "inf", "+5", "\uff15")
        ),
        ("tests", "[direct-tcp]\nduration = 5e-324\n", "greater than or equal to 1"),
        ("tests", "[direct-tcp]\nduration = 5\nport = 05001\n", "a whole number"),
        ("tests", "[direct-tcp]\nduration = 5\ntime = 0_1\n", "a number is needed"),
        ("ssh", "[ssh]\nthreads = True\n", "a whole number"),
        ("ssh", "[ssh]\nconnect_timeout_s = 5e-324\n", "greater than or equal to 0.1"),
        ("tests", "[direct-tcp]\n", "duration"),
        ("tests", "[direct-udp]\nduration = 5\n", "did you mean 'direct-tcp'?"),
        ("tests", "[Direct TCP]\nduration = 5\n", "not a test name"),
        ("tests", "[direct-tcp]\nduration = 5\nserver = -oProxyCommand=x\n", "server"),
        *(
            ("tests", f"[tunnel-tcp]\nkind = {kind}\n{keys}", says)
            for kind in ("connect-storm", "idle")
            for keys, says in (
                ("duration = 60\n", "write path = tunnel"),
                ("duration = 29\npath = tunnel\n", "give 30 seconds or more"),
                ("duration = 60\npath = tunnel\nserver = 192.0.2.1\n", "leave server out"),
            )
        ),
        ("tests", "[direct-tcp]\nkind = latency\nduration = 5\n", "give 6 seconds or more"),
        ("tests", "[direct-tcp]\nkind = latnecy\nduration = 30\n", "kind"),
        ("tests", "[direct-tcp]\nkind = pps\nduration = 5\npacket_bytes = 8\n", "packet_bytes"),
        (
            "tests",
            "[direct-tcp]\nduration = 5\nconnect_first = yes\n",
            "direct-tcp does not read $PERFKIT_SEND_AT: it would send before its test",
        ),
        ("tests", "", "no test in it"),
        ("tests", "[direct-tcp\n", "compare it with tests.conf.sample"),
        ("ssh", "[shh]\nuser = root\n", "did you mean 'ssh'?"),
        ("ssh", "[ssh]\npassword = hunter2\n", "perfkit logs in with a key"),
        ("ssh", "[ssh]\nthreads = 0\n", "threads"),
        ("cron", "[cron]\nshell = sh; reboot\n", "shell"),
    ],
)
def test_a_bad_file_is_named_with_section_key_and_remedy(
    project: Path, file: str, text: str, says: str
) -> None:
    (project / f"config/{file}.conf").write_text(text)
    error = refused()
    assert error.source.startswith(f"{file}.conf")
    assert says in str(error)
    assert "hunter2" not in repr(error)


def test_a_script_that_is_not_executable_is_refused(project: Path) -> None:
    (project / "resources/tests/direct-tcp").chmod(0o644)
    assert "not executable; chmod +x" in str(refused())


def test_the_old_names_of_ssh_conf_are_understood(project: Path) -> None:
    (project / "config/ssh.conf").write_text("[ssh]\nusername = admin\nkeyfile = ~/.ssh/id\n")
    ssh = settings.load().ssh
    assert (ssh.user, ssh.key_file) == ("admin", "~/.ssh/id")


def test_a_duration_given_applies_to_every_test(project: Path) -> None:
    assert {t.duration_s for t in settings.load({"duration_s": 3}).tests} == {3}


def test_without_a_project_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFKIT_HOME", str(tmp_path))
    assert "set it to your clone" in str(refused())


def test_a_name_like_nothing_known_lists_what_is_known() -> None:
    assert did_you_mean("xyz", ["a-test", "b-test"]) == "known are: a-test, b-test"


def test_a_tests_port_and_programs_reach_it(project: Path) -> None:
    conf = "[direct-tcp]\nduration = 5\nport = 5201\nneeds = iperf3 jq\n"
    (project / "config/tests.conf").write_text(conf)
    (test,) = settings.load().tests
    assert (test.port, test.needs) == (5201, ("iperf3", "jq"))
