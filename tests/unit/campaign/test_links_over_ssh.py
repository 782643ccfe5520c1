"""Links of hosts elsewhere: what they print is not trusted, and a host that failed is set free too."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from perfkit.campaign.links_over_ssh import LinksOverSsh
from perfkit.campaign.open_run import OpenRun
from perfkit.errors import ProviderError
from perfkit.model import Host, HostLink, Role

SERVER = Host(name="server", role=Role.SERVER, address="192.0.2.1", host_key="k")
CLIENT = Host(name="client-001", role=Role.CLIENT, address="192.0.2.2", host_key="k")


class Answering(LinksOverSsh):
    """Hosts that print one text, whatever they are told."""

    def __init__(self, printed: str = "[]", left: tuple[Host, ...] = (SERVER, CLIENT)) -> None:
        inventory = SimpleNamespace(
            hosts=lambda *_: list(left), have_been=lambda _: [SERVER, CLIENT]
        )
        super().__init__(cast(OpenRun, SimpleNamespace(inventory=inventory)))
        self.printed, self.told = printed, dict[str, str]()

    def _on_all(self, stage: str, scripts: Mapping[Host, str], **_: Any) -> dict[str, str]:
        self.told = {host.name: stage for host in scripts}
        return dict.fromkeys(self.told, self.printed)


@pytest.mark.parametrize(
    "printed",
    [
        "Welcome\n[]",
        "[1]",
        '[{"parent": "1:10", "dev": "perfkit-ifb"}]',
        '[{"parent": "1:10", "dev": "perfkit-ifb", "bytes": -1, "packets": 1, "drops": 0}]',
        "[" * 100_000,
    ],
)
def test_what_a_host_prints_instead_of_its_queues_is_named(printed: str) -> None:
    with pytest.raises(ProviderError, match="is no list of queues"):
        Answering(printed).link_counters("run")


def test_links_come_off_hosts_that_have_failed_too_and_without_a_server() -> None:
    links = Answering(left=(CLIENT,))
    links.set_links("run", {})
    assert links.told == {"server": "unlink", "client-001": "unlink"}
    with pytest.raises(ProviderError, match="the server is lost"):
        links.set_links("run", {"client-001": HostLink(rate_bps=1e6)})
