"""The logs of one test in a run: whose rows they are, and who counted them.

A log alone may not tell which end wrote it; where it was collected does. The logs of a run may be
of any format that has traffic, each of another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfkit.errors import LogError
from perfkit.logs import frames
from perfkit.logs.arrow_text import to_categories
from perfkit.logs.format import Reading
from perfkit.logs.frames import SIDES
from perfkit.logs.traffic import RECEIVER, SENDER, UNKNOWN

KIND, SAMPLES = "traffic", "samples"
SIDE_ASSUMED = (
    "does not say who sent: clients are assumed to have sent, and the server to have received"
)
_SWAPPED = {
    "local_address": "peer_address",
    "local_port": "peer_port",
    "peer_address": "local_address",
    "peer_port": "local_port",
}


def checked(reading: Reading) -> Reading:
    """A reading, if it is of traffic or of samples.

    Raises:
        LogError: it is of something else.
    """
    if reading.kind not in (KIND, SAMPLES):
        raise LogError(
            reading.path,
            f"{reading.format}, neither traffic nor samples: the test's script printed it",
        )
    return reading


def lacks_side(frame: pd.DataFrame) -> bool:
    """Whether a log leaves open who counted some of its rows."""
    return bool((frame["side"].array == SIDES[UNKNOWN]).any())


def with_sides(reading: Reading, *, of_server: bool) -> pd.DataFrame:
    """A log's frame with the sides it leaves open: a client sends, a server receives.

    Where iperf 2's CSV does not tell its side, `local` is the client, so in the server's log the
    ends of those rows are swapped.
    """
    frame = reading.frame
    if not lacks_side(frame):
        return frame
    codes = frame["side"].cat.codes.to_numpy()
    unknown = codes == UNKNOWN
    side = np.where(unknown, RECEIVER if of_server else SENDER, codes)
    told = frame.assign(side=to_categories(side, SIDES))
    if of_server and reading.format == "iperf2-csv":
        swapped = told.rename(columns=_SWAPPED)
        told = pd.concat([told[~unknown], swapped.loc[unknown, told.columns]]).sort_index()
    return told


def of_clients(slot: str, names: Sequence[str], found: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The clients' logs of a slot under each other.

    Args:
        names: The client of each frame.
    """
    sent = frames.concat(found, KIND)
    # Added once for all logs: thousands of small frames would each pay for three columns.
    places = np.repeat(np.arange(len(found)), [len(frame) for frame in found])
    clients = to_categories(places, names)
    return _owned(sent, slot, clients, clients)


def of_all_servers(found: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The logs of a slot's programs on the server as one, with each stream's number once."""
    numbered, above = [], 0
    for frame in found:
        number = frame["stream"].to_numpy()
        numbered.append(frame.assign(stream=np.where(number >= 0, number + above, number)))
        above += int(number.max(initial=-1)) + 1
    return numbered[0] if len(numbered) == 1 else frames.concat(numbered, KIND)


def of_server(
    slot: str, server: str, received: pd.DataFrame, owners: NDArray[np.object_]
) -> pd.DataFrame:
    """The server's log of a slot, each row given its client, see `owners`."""
    there = to_categories(np.zeros(len(received), dtype=np.int8), [server])
    return _owned(received, slot, pd.Categorical(owners.astype(str)), there)


def owners(received: pd.DataFrame, sent: pd.DataFrame, hosts: pd.DataFrame) -> NDArray[np.object_]:
    """The client of each row of a server's log: by both ends' ports, else by its address.

    Hosts that share one address (loopback) can only be told apart by the port. A log may say late
    whose a stream is, so a row that does not say it has the client of its stream's other rows.

    Args:
        sent: The clients' own rows.
        hosts: The run's clients: `name`, `address`, `traffic_address`, `tunnel_address`.

    Returns:
        Names; empty where it is no client of the run.
    """
    streams = sent[(sent["local_port"] > 0).to_numpy()].drop_duplicates(["host", "stream"])
    # iperf 2 writes the interface to an address of IPv6, on the host's own side only.
    own = [address.partition("%")[0] for address in streams["local_address"].astype("str")]
    ends = zip(own, streams["local_port"], strict=True)
    by_end = dict(zip(ends, streams["host"].astype("str"), strict=True))
    pairs = {
        (str(address), str(name))
        for column in ("address", "traffic_address", "tunnel_address")
        for address, name in zip(hosts[column], hosts["name"], strict=True)
        if address
    }
    times_seen = Counter(address for address, _ in pairs)
    by_address = {address: name for address, name in pairs if times_seen[address] == 1}
    peers = zip(received["peer_address"].astype("str"), received["peer_port"], strict=True)
    named = np.array([by_end.get(end) or by_address.get(end[0], "") for end in peers], dtype=object)
    stream = received["stream"].to_numpy()
    known = (named != "") & (stream >= 0)
    by_stream = dict(zip(stream[known][::-1], named[known][::-1], strict=True))
    for row in np.flatnonzero((named == "") & (stream >= 0)):
        named[row] = by_stream.get(stream[row], "")
    return named


def _owned(
    frame: pd.DataFrame, slot: str, clients: pd.Categorical, log_hosts: pd.Categorical
) -> pd.DataFrame:
    """A log's own lines (sums repeat them) with the slot, the client and the log's host."""
    slots = to_categories(np.zeros(len(frame), dtype=np.int8), [slot])
    named = frame.assign(slot=slots, host=clients, log_host=log_hosts)
    own = named["kind"].isin(["interval", "summary"]).to_numpy(dtype=bool)
    return named[own]
