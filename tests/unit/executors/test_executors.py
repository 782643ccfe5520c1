"""Work on many units by executors: equal outcomes, small records, errors with a name, nothing left."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import ExecutorError, RunError, UnitsFailedError
from perfkit.executors import address, at_worker, mapping
from perfkit.executors.at_worker import Order, carry_out
from perfkit.executors.mapping import DONE, TEXT, Handover, Unit, each, json_of, to_json
from perfkit.runs.folder import write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """An outcome with what JSON has no word for."""

    of: tuple[int, ...]
    value: float


SUM = json_of(Sum)


def add(*numbers: int) -> Sum:
    return Sum(of=numbers, value=float(sum(numbers)) or math.inf)


def refuse_three(number: int) -> Sum:
    if number == 3:
        raise RunError("runs/3: not there")
    return add(number)


def break_on_three(number: int) -> Sum:
    return add(number // (number - 3))


def units(folder: Path, count: int = 5) -> list[Unit]:
    return [
        Unit(name=f"runs/{n}", arguments=(n,), folder=folder / str(n) / "cache")
        for n in range(count)
    ]


class Lent(Executor):
    """An executor that works at once, by a function of the test."""

    def __init__(self, answer: Callable[[Order], Any]) -> None:
        self.answer, self.orders = answer, list[Order]()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert fn is carry_out
        assert kwargs == {}
        (order,) = args
        self.orders.append(order)
        future: Future[Any] = Future()
        try:
            future.set_result(self.answer(order))
        except Exception as exc:  # noqa: BLE001 - as an executor does
            future.set_exception(exc)
        return future


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_executor_gives_what_is_found_without_one_and_leaves_no_file(tmp_path: Path) -> None:
    alone = each(add, units(tmp_path, 300), form=SUM)
    with ThreadPoolExecutor(4) as pool:
        assert each(add, units(tmp_path, 300), pool, form=SUM) == alone
    assert alone[0].value == math.inf
    assert left(tmp_path) == []


def test_without_an_executor_the_first_error_is_the_works_own(tmp_path: Path) -> None:
    for nobody in (None, ""):
        with pytest.raises(RunError, match="runs/3: not there"):
            each(refuse_three, units(tmp_path), nobody, form=SUM)


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (refuse_three, "RunError: runs/3: not there"),
        (break_on_three, "it broke on it: ZeroDivisionError"),
    ],
)
def test_a_unit_that_fails_is_named_and_all_others_are_done(
    work: Callable[[int], Sum], why: str, tmp_path: Path
) -> None:
    lent = Lent(carry_out)
    with pytest.raises(UnitsFailedError) as raised:
        each(work, units(tmp_path), lent, form=SUM)
    assert list(raised.value.failures) == ["runs/3"]
    assert why in raised.value.failures["runs/3"]
    assert "1 of 5 units could not be done" in str(raised.value)
    assert len(lent.orders) == 5
    assert left(tmp_path) == []


def test_only_a_small_record_comes_back_and_the_outcome_is_in_the_runs_folder(
    tmp_path: Path,
) -> None:
    def answer(order: Order) -> str:
        assert order.place is not None
        assert order.place.read_bytes() == b""
        said = carry_out(order)
        assert json.loads(order.place.read_bytes())["of"] == list(order.arguments)
        assert len(said) < 300
        assert "of" not in json.loads(said)
        return said

    each(add, units(tmp_path), Lent(answer), form=SUM)


def test_a_unit_that_two_workers_do_leaves_one_outcome(tmp_path: Path) -> None:
    def twice(order: Order) -> str:
        carry_out(order)
        return carry_out(order)

    assert each(add, units(tmp_path), Lent(twice), form=SUM) == each(add, units(tmp_path), form=SUM)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (7, "a worker sent int, not a record"),
        ("{", "not JSON"),
        ("[]", "no record"),
        (json.dumps({"worker": "w", "run": "rm"}), "no record"),
        (json.dumps({"worker": "w", "size_bytes": "many"}), "no record"),
        ('{"worker": "' + "w" * 2**20 + '"}', "bytes of JSON, more than"),
        (json.dumps({"worker": "w", "size_bytes": 3, "sha256": "0" * 64}), "not what worker w says"),
        (json.dumps({"worker": "w", "size_bytes": 2**40, "sha256": ""}), "not what worker w says"),
    ],
)  # fmt: skip
def test_what_a_worker_sends_is_checked_before_it_is_used(
    said: object, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "ARRIVE_S", 0.0)
    with pytest.raises(UnitsFailedError, match=why):
        each(add, units(tmp_path, 1), Lent(lambda _: said), form=SUM)


def test_a_file_that_is_no_outcome_is_that_units_failure(tmp_path: Path) -> None:
    other = Handover(lambda _: b'{"of": [1]}', SUM.load)
    with pytest.raises(UnitsFailedError, match="no Sum at value: Field required"):
        each(add, units(tmp_path, 1), Lent(carry_out), form=other)


def test_a_worker_with_other_versions_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    def elsewhere(order: Order) -> str:
        return carry_out(replace(order, versions={**order.versions, "pandas": "0.1"}))

    with pytest.raises(ExecutorError) as raised:
        each(add, units(tmp_path), Lent(elsewhere), form=SUM)
    own = at_worker.versions()["pandas"]
    assert f"pandas {own} here and 0.1 at the client" in str(raised.value)
    assert "pip install 'perfkit[dask]==" in str(raised.value)
    assert "pandas==0.1" in str(raised.value)
    assert left(tmp_path) == []


def test_the_versions_name_all_that_figures_depend_on() -> None:
    found = at_worker.versions()
    assert set(found) == {"perfkit", "source", "python", *at_worker.PACKAGES}
    assert "none" not in found.values()


def test_a_worker_that_does_not_see_the_runs_folder_is_refused_before_it_works(
    tmp_path: Path,
) -> None:
    def elsewhere(order: Order) -> str:
        assert order.place is not None
        return carry_out(replace(order, place=tmp_path / "other" / order.place.name))

    with pytest.raises(ExecutorError, match=r"does not see .*same path") as raised:
        each(add, units(tmp_path), Lent(elsewhere), form=SUM)
    assert not isinstance(raised.value, UnitsFailedError)


def test_a_folder_that_cannot_be_written_is_that_units_failure(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "cache").write_text("a file where a folder should be")
    lent = Lent(carry_out)
    with pytest.raises(UnitsFailedError, match="cannot be written") as raised:
        each(add, units(tmp_path), lent, form=SUM)
    assert list(raised.value.failures) == ["runs/2"]
    assert len(lent.orders) == 4


class Sound:
    """What a pool does besides handing out, as long as nothing goes wrong."""

    def check(self, waiting: Collection[str]) -> None:
        raise AssertionError(waiting)

    def death(self, exc: BaseException) -> str:
        raise exc

    def forget(self, units: Collection[Future[str]]) -> None:
        for unit in units:
            unit.cancel()


def test_no_more_units_are_handed_out_than_the_pool_is_wide(tmp_path: Path) -> None:
    waiting: list[tuple[Future[str], Order]] = []
    most = 0

    @dataclass
    class Narrow(Sound):
        width: int = 3

        def submit(self, order: Order) -> Future[str]:
            nonlocal most
            future: Future[str] = Future()
            waiting.append((future, order))
            most = max(most, len(waiting))
            if len(waiting) == self.width or len(order.arguments) == 2:
                for ready, one in waiting:
                    ready.set_result(carry_out(one))
                waiting.clear()
            return future

    last = Unit(name="last", arguments=(1, 2), folder=tmp_path / "last")
    found = drive(Narrow(), [*units(tmp_path, 10), last])
    assert [one.of for one in found] == [*((n,) for n in range(10)), (1, 2)]
    assert most == 3


def drive(pool: mapping.Workers, some: Sequence[Unit]) -> list[Sum]:
    # private: `each` makes pools by their names only
    call = mapping._Call(add, some, SUM, pool)
    try:
        return call.outcomes()
    finally:
        call.close()


class DiedError(Exception):
    """A worker's end, as a cluster tells of it."""


@dataclass
class Deadly(Sound):
    """A pool in which unit 2 kills its worker each time, and takes a neighbour along the first time."""

    width: int = 2
    handed: int = 0

    def submit(self, order: Order) -> Future[str]:
        self.handed += 1
        future: Future[str] = Future()
        if order.arguments == (2,) or (order.arguments == (3,) and self.handed < 5):
            future.set_exception(DiedError())
        else:
            future.set_result(carry_out(order))
        return future

    def death(self, exc: BaseException) -> str:
        assert isinstance(exc, DiedError)
        return "every worker died"

    def forget(self, units: Collection[Future[str]]) -> None:
        assert units == {}


def test_a_unit_that_kills_its_workers_is_named_and_its_neighbour_is_not(tmp_path: Path) -> None:
    with pytest.raises(UnitsFailedError) as raised:
        drive(Deadly(), units(tmp_path))
    assert raised.value.failures == {"runs/2": "every worker died"}
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (BrokenExecutor("died"), "a process of the pool died"),
        (ValueError("what?"), "the executor failed: ValueError: what?"),
    ],
)
def test_a_pool_that_breaks_is_an_error_of_ours(
    broken: Exception, why: str, tmp_path: Path
) -> None:
    def answer(_order: Order) -> str:
        raise broken

    with pytest.raises(ExecutorError, match=why):
        each(add, units(tmp_path), Lent(answer), form=SUM)
    assert left(tmp_path) == []


def test_an_interrupt_cancels_what_was_handed_out_and_leaves_no_file(tmp_path: Path) -> None:
    handed: list[Future[str]] = []

    @dataclass
    class Slow(Sound):
        width: int = 4

        def submit(self, order: Order) -> Future[str]:
            handed.append(Future())
            if len(handed) == 3:
                raise KeyboardInterrupt
            return handed[-1]

    with pytest.raises(KeyboardInterrupt):
        drive(Slow(), units(tmp_path))
    assert [future.cancelled() for future in handed] == [True, True, False]
    assert left(tmp_path) == []


def test_processes_of_this_machine_work_as_well(tmp_path: Path) -> None:
    found = each(Path.exists, [Unit(name="x", arguments=(tmp_path,), folder=tmp_path)] * 2,
                 "processes", form=Handover(to_json, json.loads))  # fmt: skip
    assert found == [True, True]


def test_work_that_writes_all_itself_hands_nothing_over(tmp_path: Path) -> None:
    some = [Unit(name="x", arguments=(tmp_path / "made", b"all of it"), folder=tmp_path / "cache")]
    assert each(write_atomic, some, Lent(carry_out), form=DONE) == [None]
    assert [path.name for path in left(tmp_path)] == ["made"]
    with pytest.raises(UnitsFailedError, match="not JSON"):
        each(write_atomic, some, Lent(carry_out), form=Handover(lambda _: b"half", DONE.load))


def test_a_short_text_comes_back_itself_and_a_long_one_is_refused() -> None:
    alone = [Unit(name="x", arguments=("text",), folder=None)]
    assert each(str.upper, alone, Lent(carry_out), form=TEXT) == ["TEXT"]
    long = [Unit(name="x", arguments=("y" * 10**6,), folder=None)]
    with pytest.raises(UnitsFailedError, match=f"more than {at_worker.MOST_TEXT}"):
        each(str.upper, long, Lent(carry_out), form=TEXT)


@pytest.mark.parametrize("name", ["", "processes", "tcp://10.0.0.5:8786", "tls://[fd00::5]:8786"])
def test_a_name_of_an_executor_is_known(name: str) -> None:
    assert address.checked(name) == name


@pytest.mark.parametrize(
    "name", ["dask", "10.0.0.5:8786", "tcp://host", "ucx://host:1", "tcp://a b:1", "tcp://h:1/x"]
)
def test_another_word_is_refused_with_what_is_expected(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tcp://HOST:PORT"):
        address.checked(name)
    with pytest.raises(ExecutorError, match="tcp://HOST:PORT"):
        each(add, units(tmp_path), name, form=SUM)


def test_without_the_extra_the_error_is_one_line_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ExecutorError) as raised:
        each(add, units(tmp_path), "tcp://127.0.0.1:1", form=SUM)
    assert "pip install 'perfkit[dask]'" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_to_do_asks_nobody() -> None:
    assert each(add, [], "tcp://127.0.0.1:1", form=SUM) == []


def test_a_cancelled_future_is_the_pools_failure(tmp_path: Path) -> None:
    def answer(_order: Order) -> str:
        raise CancelledError

    with pytest.raises(ExecutorError, match="the executor failed: CancelledError"):
        each(add, units(tmp_path), Lent(answer), form=SUM)
