"""links.json: which links hosts had while a run measured, and what those counted; bytes in, records out."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perfkit.errors import ParseError

_LARGEST = 2**53  # integers a float holds exactly


class Counted(BaseModel):
    """One direction of a link; 0 where it bounds nothing, or loses nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    carried_bytes: int = Field(0, ge=0, le=_LARGEST)
    carried_packets: int = Field(0, ge=0, le=_LARGEST)
    queue_drops: int = Field(0, ge=0, le=_LARGEST)
    lost_packets: int = Field(0, ge=0, le=_LARGEST)
    passed_packets: int = Field(0, ge=0, le=_LARGEST)


class LinkRecord(BaseModel):
    """A host's link: what it was to be, and what it counted; None where that was not read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    link: str = Field(max_length=200)
    rate_bps: float | None = Field(None, gt=0, allow_inf_nan=False)
    loss_ratio: float = Field(0.0, ge=0, lt=1)
    delay_s: float = Field(0.0, ge=0, allow_inf_nan=False)
    jitter_s: float = Field(0.0, ge=0, allow_inf_nan=False)
    from_host: Counted | None = None
    to_host: Counted | None = None


class Ways(BaseModel):
    """Both directions of a link."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_host: Counted = Counted()
    to_host: Counted = Counted()


class LinkLog(BaseModel):
    """The file.

    Attributes:
        hosts: By the host's name.
        server_after: What the server's link had counted when each test was over, by slot in their order;
            None: it was not read before the next test began.
        not_read: Why nothing was counted; empty: it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: dict[str, LinkRecord] = Field(default_factory=dict)
    server_after: dict[str, Ways | None] = Field(default_factory=dict)
    not_read: str = Field("", max_length=2000)

    def arriving_drops(self, slot: str) -> float:
        """Packets to the server that its link dropped in one test; 0: it has no link; NaN: not known."""
        if "server" not in self.hosts:
            return 0.0
        names = list(self.server_after)
        place = names.index(slot) if slot in names else 0
        after = self.server_after.get(slot)
        before = self.server_after[names[place - 1]] if place else Ways()
        if after is None or before is None:
            return float("nan")
        return max(after.to_host.queue_drops - before.to_host.queue_drops, 0)


def read_links(path: Path) -> LinkLog:
    """Read a run's links.

    Raises:
        ParseError: it is damaged.
    """
    try:
        return LinkLog.model_validate_json(path.read_bytes())
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ParseError(path, 1, where[:200], f"no record of links: {first['msg']}") from exc
