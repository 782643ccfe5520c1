"""How far a host's clock is from the controller's, and how sure that is.

Tests start by each host's own clock, so an offset would be an error of the start, and it moves the
borders of windows on the server's log. It is measured like NTP does, by questions and answers on
one open channel: the host's time lies somewhere within the round trip, so the shortest round
trip bounds it best. Where a clock is certainly off, a host's orders are by what it shows; no clock
is set, and nothing in a log is changed. Offset and bound are kept with the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

from perfkit.errors import HostError, UntrustedError
from perfkit.ssh.remote import Remote, TimedReply
from perfkit.units import NS_PER_S
from perfkit.untrusted import one_line, parse_int

QUESTIONS = 10
# The host's tests go by its `date`. Where bash shows the same time (a `date` between two looks at it
# says so), it answers: no program is started between a question and its answer, which takes less of
# processors that hosts may share and makes the round trip shorter.
_BY_DATE = "while read -r question; do date +%s%N; done"
_BY_BASH = rf"""
before=${{EPOCHREALTIME/[!0-9]/}} shown=$(date +%s%N) after=${{EPOCHREALTIME/[!0-9]/}}
case $before,$shown in
    ,* | *[!0-9,]*) ;;
    *)
        if [ "$before" -le "${{shown%???}}" ] && [ "${{shown%???}}" -le "$after" ]; then
            while read -r question; do echo "${{EPOCHREALTIME/[!0-9]/}}000"; done
        fi
        ;;
esac
{_BY_DATE}
"""
ANSWER_WITH_TIME = f"command -v bash >/dev/null && exec bash -c {quote(_BY_BASH)}\n{_BY_DATE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSample:
    """A host's clock against the controller's.

    Attributes:
        offset_s: Host clock minus controller clock.
        bound_s: The true offset lies within `offset_s` +- `bound_s`: half the round trip.
        measured_utc_s: When, by the controller's clock, seconds since the epoch.
    """

    host: str
    measured_utc_s: float
    offset_s: float
    bound_s: float

    def to_dict(self, when: str) -> dict[str, Any]:
        """As written to clocks.json; `when` is `before` or `after` the tests."""
        return {"host": self.host, "when": when, **asdict(self)}


def certain_error_s(measured: Mapping[str, Any]) -> float:
    """What a host's clock shows too much, seconds; 0 where it may as well be right.

    An offset within its bound may be no more than a round trip whose ways differ, and to go by it
    would put a right clock wrong.

    Args:
        measured: A row of clocks.json.
    """
    offset_s = float(measured["offset_s"])
    return offset_s if abs(offset_s) > float(measured["bound_s"]) else 0.0


def measure_clock(remote: Remote) -> ClockSample:
    """Ask a host for its time on one channel, several times, and keep the best answer.

    Raises:
        HostError: the host cannot say the time in nanoseconds, or is lost.
    """
    return choose_best(remote.host.name, remote.converse(ANSWER_WITH_TIME, ["time"] * QUESTIONS))


def choose_best(host: str, answers: Sequence[TimedReply]) -> ClockSample:
    """The sample of the shortest round trip; `answers` is not empty.

    Source: RFC 5905 sections 8 and 10 (offset, delay, and the clock filter: least delay wins);
    here the host reads its clock once, so its two time stamps are one.

    Raises:
        HostError: an answer is not a time in nanoseconds.
    """
    return min((_sample(host, answer) for answer in answers), key=lambda sample: sample.bound_s)


def _sample(host: str, answer: TimedReply) -> ClockSample:
    try:
        time_ns = parse_int(answer.line, least=0)
    except UntrustedError as exc:
        raise HostError(
            host,
            f"`date +%s%N` answered {one_line(answer.line, 40)!r}; expected nanoseconds since the "
            "epoch: install GNU coreutils there",
        ) from exc
    middle_s = (answer.sent_utc_s + answer.received_utc_s) / 2
    return ClockSample(
        host=host,
        offset_s=time_ns / NS_PER_S - middle_s,
        bound_s=(answer.received_utc_s - answer.sent_utc_s) / 2,
        measured_utc_s=middle_s,
    )
