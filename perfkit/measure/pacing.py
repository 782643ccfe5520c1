"""How long before and after their tests hosts need, and how sharply they can start.

What a fleet of so many clients was measured to need, with a reserve; `perfkit.measure.plan` makes the
timetable of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from perfkit.model import Role

SERVER_LATE_S = 1.5  # of its lead; the rest is for its program to open its port


def grace_for(clients: int) -> float:
    """Seconds that the slowest client may need to end after its time is over.

    A sender stops by its clock and then waits until what it has sent arrived. The more clients
    share a tunnel, the longer: 100 of them on a saturated one needed up to 9 s, hence with
    reserve 0.12 s a client, within 4 s and one minute. Those that connect before their time need less
    (100 of them 4 to 5 s, 1,000 at most 6.3 s): see `connected_grace_for`.
    """
    return min(60.0, 4.0 + 0.12 * clients)


def connected_grace_for(clients: int) -> float:
    """The same of tests whose clients connect first: none of them begins, and ends, late.

    What is lost of their traffic is sent again after 1, 2, 4 and maybe 8 s. One that needs longer is
    ended, and counts where it sent its whole time.
    """
    return min(grace_for(clients), 9.0 + 0.02 * clients)


def direct_grace_for(clients: int) -> float:
    """The same of tests beside the tunnel between hosts of one machine, which nothing slows down.

    No VPN's process is a queue there: the last of 100 unlimited senders on two processors ended
    0.2 to 1.4 s after its time, of 1,000 after 3.2 to 6.0 s. The rest is a reserve for a busy machine.
    """
    return min(grace_for(clients), 3.0 + 0.005 * clients)


def connect_s_for(clients: int) -> float:
    """Seconds before a slot in which its clients start and connect, where the test has them do so.

    Connections that are made when others send already wait for them: of 1,000 clients through a
    tunnel a tenth connected 36 s late, since each lost packet of theirs is sent again after 1, 3, 7, 15
    and 31 s. Before, all were connected 0.2 s after their start, and the last had started after 1.7 s.
    """
    return 0.5 + 0.005 * clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How sharply the hosts can start.

    Attributes:
        late_s: A client that starts later than this after its instant failed.
        spread_s: The hosts get ready for the instant at different moments of so long a time.
    """

    late_s: float = 0.5
    spread_s: float = 1.0

    def late_of(self, role: Role) -> float:
        """Seconds that a host of this role may be late; servers begin early to have a reserve."""
        return SERVER_LATE_S if role is Role.SERVER else self.late_s


ALONE = Pacing()  # hosts that share no processors


def pacing_for(clients: int, *, shared_cpu: bool) -> Pacing:
    """What a fleet of this size can keep.

    Getting ready starts five programs a host. Hosts that share a few processors do that in turn:
    1,000 on two cores got ready in 20 s without delaying anybody, and the last started 1.7 s after
    the first. What they are late stands in the tables as the start spread, and the steady window
    begins with the last of them.
    """
    if not shared_cpu:
        return ALONE
    return Pacing(late_s=1.0 + 0.005 * clients, spread_s=max(1.0, 0.02 * clients))
