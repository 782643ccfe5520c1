"""The provider thread and the release, against a provider that lives in memory."""

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from perfkit.errors import (
    LaunchError,
    LaunchRefusedError,
    LaunchUnknownError,
    UnreachableError,
)
from perfkit.fleet.calls import unresolved
from perfkit.fleet.inventory import Inventory
from perfkit.fleet.launch import Fleet, LaunchPlan, batch_token
from perfkit.fleet.provider import (
    HostRequest,
    LaunchRequest,
    ListedHost,
    ReleaseReport,
    Traits,
)
from perfkit.fleet.reap import release_until_quiet, survey
from perfkit.model import Host, HostState, Role
from perfkit.runs.journal import Event, Journal, read

EXPIRES = datetime.now(UTC) + timedelta(hours=1)


class MemoryProvider:
    """Keeps hosts in a list; can refuse a batch, lose a host, and be slow to let go."""

    name = "memory"
    notice = "Hosts in memory, for tests."
    traits = Traits(
        costs_money=False,
        shared_cpu=True,
        can_tunnel=False,
        max_hosts=100,
    )

    def __init__(
        self,
        *,
        refuse: str = "",
        forget: str = "",
        late: int = 0,
        why: dict[str, str] | None = None,
    ) -> None:
        self.there: dict[str, ListedHost] = {}
        self.refuse, self.forget, self.late, self.why = refuse, forget, late, why

    def preflight(self, n_hosts: int) -> None:
        pass

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        names = [h.name for h in request.hosts]
        if self.refuse in names:
            raise LaunchError("quota")
        made = [h for h in request.hosts if h.name != self.forget]
        if self.why and len(made) < len(names):
            request.record("launch-shortfall", reason="some are missing", hosts=self.why)
        for h in made:
            self.there[h.name] = listed(request.run_id, h.name)
        return [
            Host(name=h.name, role=h.role, address="198.18.0.9", host_key=h.host_key) for h in made
        ]

    def hosts(self, run_id: str | None = None) -> Sequence[ListedHost]:
        return [h for h in self.there.values() if run_id in (None, h.run_id)]

    def terminate(self, run_id: str, names: Sequence[str]) -> ReleaseReport:
        return ReleaseReport(released=tuple(n for n in names if self.there.pop(n, None)))

    def release(self, run_id: str) -> ReleaseReport:
        report = self.terminate(run_id, [h.name for h in self.hosts(run_id)])
        if self.late:  # a launch that was under way brings one more host after the release
            self.late -= 1
            self.there["late"] = listed(run_id, "late")
        return report

    def runs(self) -> Sequence[str]:
        return sorted({h.run_id for h in self.there.values()})

    def residue(self, run_id: str) -> Sequence[str]:
        return []


def listed(run_id: str, name: str) -> ListedHost:
    return ListedHost(
        run_id=run_id,
        name=name,
        role=Role.CLIENT,
        address="198.18.0.9",
        expires_utc=EXPIRES,
        owner="me",
        identity=f"memory {name}",
    )


def requests(n: int) -> list[HostRequest]:
    return [
        HostRequest(name=f"client-{i}", role=Role.CLIENT, host_key="k", host_key_private="p")
        for i in range(n)
    ]


def a_fleet(provider: MemoryProvider, tmp_path: Path, *, sick: str = "") -> Fleet:
    def probe(host: Host, timeout_s: float) -> None:
        if host.name == sick:
            raise UnreachableError(host.name, "refused")

    journal = Journal(tmp_path / "journal.jsonl")
    plan = LaunchPlan(owner="me", expires_utc=EXPIRES, authorized_key="k", batch_size=2)
    return Fleet("run-1", provider, Inventory(journal), journal, plan, probe=probe)


def test_a_block_launches_hands_hosts_on_and_releases_all(tmp_path: Path) -> None:
    provider = MemoryProvider()
    with a_fleet(provider, tmp_path) as fleet:
        fleet.launch(requests(5))
        assert {h.name for h in fleet.reachable()} == {f"client-{i}" for i in range(5)}
        assert len(provider.there) == 5
    assert provider.there == {}
    assert fleet.inventory.counts() == {HostState.RELEASED: 5}


@pytest.mark.parametrize(
    ("asked", "address_6", "reached"),
    [
        (None, "", "198.18.0.9"),
        (4, "", "198.18.0.9"),
        (6, "fd00::9", "fd00::9"),
        (None, "fd00::9", "198.18.0.9"),
        (6, "", None),
    ],
)
def test_hosts_reach_each_other_by_the_version_of_ip_that_is_asked(
    tmp_path: Path, asked: int | None, address_6: str, reached: str | None
) -> None:
    seen: list[bool] = []

    class WithIpv6(MemoryProvider):
        def launch(self, request: LaunchRequest) -> Sequence[Host]:
            seen.append(request.with_ipv6)
            return [replace(host, ipv6_address=address_6) for host in super().launch(request)]

    with a_fleet(WithIpv6(), tmp_path) as fleet:
        fleet.plan = replace(fleet.plan, outside_ip=asked, with_ipv6=bool(address_6))
        fleet.launch(requests(1))
        found = [host.traffic_address for host in fleet.reachable()]
        (record,) = fleet.inventory.records()
    assert found == ([reached] if reached else [])
    assert seen == [bool(address_6)]
    if reached is None:
        assert record.reason.startswith("it has no address of IPv6, only 198.18.0.9: ")


def test_an_error_in_the_block_releases_all_the_same(tmp_path: Path) -> None:
    provider = MemoryProvider()

    def a_failing_cell() -> None:
        with a_fleet(provider, tmp_path) as fleet:
            fleet.launch(requests(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_failing_cell()
    assert provider.there == {}


def test_the_intent_is_journalled_before_each_call(tmp_path: Path) -> None:
    with a_fleet(MemoryProvider(), tmp_path) as fleet:
        fleet.launch(requests(3))
        fleet.wait()
    kinds = [e.kind for e in read(tmp_path / "journal.jsonl").events if e.kind.startswith("launch")]
    assert kinds == ["launch-intent", "launch-result"] * 2


@pytest.mark.parametrize(
    ("provider", "sick", "name", "reason"),
    [
        (MemoryProvider(refuse="client-1"), "", "client-1", "LaunchError: quota"),
        (
            MemoryProvider(forget="client-2"),
            "",
            "client-2",
            "provider memory did not return this host and gave no reason",
        ),
        (
            MemoryProvider(
                forget="client-2", why={"client-2": "no room", "client-3": "not this one"}
            ),
            "",
            "client-2",
            "no room",
        ),
        (MemoryProvider(), "client-0", "client-0", "UnreachableError: client-0: refused"),
    ],
)
def test_a_host_that_did_not_come_is_failed_with_its_reason_and_the_others_go_on(
    provider: MemoryProvider, sick: str, name: str, reason: str, tmp_path: Path
) -> None:
    with a_fleet(provider, tmp_path, sick=sick) as fleet:
        fleet.launch(requests(6))
        reachable = {h.name for h in fleet.reachable()}
        assert fleet.inventory.get_record(name).reason == reason
        assert name not in reachable
        assert len(reachable) >= 4


def test_the_token_depends_on_run_and_names_only() -> None:
    assert batch_token("r", ["a", "b"]) == batch_token("r", ["a", "b"])
    assert len({batch_token("r", ["a"]), batch_token("r", ["b"]), batch_token("s", ["a"])}) == 3


def test_a_release_goes_on_until_the_listing_stays_empty() -> None:
    provider = MemoryProvider(late=3)
    provider.there["a"] = listed("run-1", "a")
    pauses: list[float] = []
    report = release_until_quiet(
        provider, "run-1", quiet_s=12, poll_s=5, sleep=pauses.append, clock=lambda: sum(pauses)
    )
    assert report.leaked == ()
    assert provider.there == {}
    assert set(report.released) == {"a", "late"}
    assert pauses == [5, 5, 2]


def test_what_shows_up_while_a_release_waits_begins_the_wait_anew() -> None:
    provider = MemoryProvider()
    pauses: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 2:
            provider.there["late"] = listed("run-1", "late")

    report = release_until_quiet(
        provider, "run-1", quiet_s=9, poll_s=3, sleep=sleep, clock=lambda: sum(pauses)
    )
    assert report.released == ("late",)
    assert pauses == [3, 3, 3, 3, 3]


def test_a_release_that_cannot_end_gives_up_at_its_deadline() -> None:
    provider = MemoryProvider(late=1000)
    ticks = iter(range(0, 10_000, 100))
    report = release_until_quiet(
        provider, "run-1", give_up_s=300, sleep=lambda _: None, clock=lambda: float(next(ticks))
    )
    assert report.leaked == ("late (memory late)",)


def test_what_cannot_be_released_is_named() -> None:
    provider = MemoryProvider(late=1000)
    report = release_until_quiet(provider, "run-1")
    assert report.leaked == ("late (memory late)",)
    assert str(report).startswith("STILL THERE: late (memory late)")


def test_a_survey_groups_what_is_there_by_run() -> None:
    provider = MemoryProvider()
    provider.there = {"a": listed("run-1", "a"), "b": listed("run-2", "b")}
    found = survey(provider)
    assert [(f.run_id, len(f.hosts), f.expired) for f in found] == [
        ("run-1", 1, False),
        ("run-2", 1, False),
    ]


def events_of(journal: Journal) -> tuple[Event, ...]:
    return read(journal.path).events


def test_a_batch_without_a_result_is_unresolved_with_the_calls_that_may_have_made_something(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("launch-intent", token="one", names=["a"])
    journal.append("launch-result", token="one", names=["a"])
    journal.append("launch-intent", token="two", names=["b", "c"])
    journal.append("launch-call", token="two", call="first")
    journal.append("launch-call-result", token="two", call="first", made=0)
    journal.append("launch-call", token="two", call="second")
    journal.append("launch-call-result", token="two", call="second", made=1)
    journal.append("launch-call", token="two", call="third")
    assert {
        token: [call["call"] for call in calls]
        for token, calls in unresolved(events_of(journal)).items()
    } == {"two": ["second", "third"]}
    journal.append("released", leaked=["b"], count=1)
    assert list(unresolved(events_of(journal))) == ["two"]
    journal.append("released", leaked=[], count=1)
    assert unresolved(events_of(journal)) == {}


class RefusingProvider(MemoryProvider):
    """Says of the batch with host `refuse` that no batch can be made, and counts the calls."""

    def __init__(self, refuse: str, error: type[LaunchError]) -> None:
        super().__init__(refuse=refuse)
        self.error, self.calls = error, 0

    def launch(self, request: LaunchRequest) -> Sequence[Host]:
        self.calls += 1
        try:
            return super().launch(request)
        except LaunchError as exc:
            raise self.error("no permission") from exc


def test_a_refusal_stops_before_the_second_batch_and_every_host_says_why(tmp_path: Path) -> None:
    provider = RefusingProvider("client-1", LaunchRefusedError)
    fleet = a_fleet(provider, tmp_path)
    fleet.launch(requests(6))
    fleet.wait()
    assert provider.calls == 1
    reasons = {record.reason for record in fleet.inventory.records()}
    assert reasons == {"LaunchRefusedError: no permission"}


def test_an_unknown_outcome_stays_unresolved_and_its_release_waits_for_the_listing_to_settle(
    tmp_path: Path,
) -> None:
    provider = RefusingProvider("client-3", LaunchUnknownError)
    provider.traits = replace(provider.traits, settle_s=0.05)
    fleet = a_fleet(provider, tmp_path)
    fleet.launch(requests(6))
    fleet.wait()
    assert provider.calls == 3
    token = batch_token("run-1", ["client-2", "client-3"])
    # private: the journal that the fleet was given
    assert list(unresolved(events_of(fleet._journal))) == [token]
    begun = time.monotonic()
    assert fleet.release().leaked == ()
    assert time.monotonic() - begun >= 0.05
    # private: the journal that the fleet was given
    assert unresolved(events_of(fleet._journal)) == {}


def test_an_interrupted_launch_asks_for_no_further_batch(tmp_path: Path) -> None:
    asked = threading.Event()
    go_on = threading.Event()

    class SlowProvider(MemoryProvider):
        def launch(self, request: LaunchRequest) -> Sequence[Host]:
            asked.set()
            go_on.wait(60)
            return super().launch(request)

    provider = SlowProvider()

    def an_interrupted_cell() -> None:
        with a_fleet(provider, tmp_path) as fleet:
            # private: an event of a release that has begun
            fleet._stop_probes = go_on.set  # what a release says first: it has begun
            fleet.launch(requests(6))
            assert asked.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        an_interrupted_cell()
    assert provider.there == {}
    events = read(tmp_path / "journal.jsonl").events
    assert [e.kind for e in events].count("launch-intent") == 1


def test_a_probe_may_hand_back_the_host_with_its_new_key(tmp_path: Path) -> None:
    provider = MemoryProvider()
    journal = Journal(tmp_path / "journal.jsonl")
    plan = LaunchPlan(owner="me", expires_utc=EXPIRES, authorized_key="k")
    fleet = Fleet(
        "run-1",
        provider,
        Inventory(journal),
        journal,
        plan,
        probe=lambda host, _: replace(host, host_key="its own"),
    )
    fleet.launch(requests(1))
    assert [host.host_key for host in fleet.reachable()] == ["its own"]
