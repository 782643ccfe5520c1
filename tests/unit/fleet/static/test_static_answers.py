"""What an existing host answers to a look may be anything; it is shown, and believed, within bounds."""

from __future__ import annotations

import pytest

from perfkit.fleet.static.tags import find_tag, obstacles

TAG = {
    "tag.run": ("20260101T000000Z-x-abcdef",),
    "tag.name": ("client-001",),
    "tag.role": ("client",),
    "tag.token": ("t",),
    "tag.owner": ("%1b]0;owned%07me%0aroot",),
    "tag.expires": ("4102444800",),
}


@pytest.mark.parametrize("free_kib", ["9" * 10_000, "-1", "1e3", "", "٣" * 20])
def test_free_space_that_is_no_number_is_no_obstacle(free_kib: str) -> None:
    assert list(obstacles({"free_kib": (free_kib,)}, "/var/lib/perfkit", tunnel=False)) == []


def test_a_tag_is_shown_without_control_characters() -> None:
    tag = find_tag(TAG)
    assert tag is not None
    assert tag.owner.isprintable()
    assert tag.says("it").isprintable()


@pytest.mark.parametrize("expires", ["nan", "inf", "1e400", "9" * 10_000, "-1e30", ""])
def test_a_tag_whose_end_makes_no_sense_is_none(expires: str) -> None:
    assert find_tag({**TAG, "tag.expires": (expires,)}) is None


@pytest.mark.parametrize(
    ("answer", "n_packed"),
    [
        ({}, None),
        ({"packed": ("20",)}, 20),
        ({"packed": ("0",)}, 0),
        ({"packed": ("many",)}, None),
        ({"packed": ("-1",)}, None),
        ({"packed": ("9" * 10_000,)}, None),
    ],
)
def test_hosts_that_a_machine_says_to_carry_are_counted_and_nonsense_does_not_free_it(
    answer: dict[str, tuple[str, ...]], n_packed: int | None
) -> None:
    tag = find_tag({**TAG, **answer})
    assert tag is not None
    assert tag.n_packed == n_packed
