"""Listing: newest first, page by page, nothing skipped and nothing repeated (defect 15), bad requests refused (H)."""

import base64
from itertools import chain

import pytest

from keepstep.errors import InvalidInputError
from keepstep.model.status import Status
from keepstep.services import steer
from keepstep.services.listing import LIMIT_MAX, list_instances, read_cursor, read_query, write_cursor
from keepstep.services.target import Target


async def pages(world, *, limit, status=None):
    """All pages' ids."""
    cursor, found = None, []
    while True:
        page = await world.run(list_instances("order", read_query(status, limit, cursor)), "read")
        found.append([item.id for item in page.items])
        cursor = page.cursor
        if cursor is None:
            return found


async def test_equal_timestamps_neither_skip_nor_repeat(world):
    """Seven instances of one instant, in pages of three, are seven (defect 15)."""
    names = [f"i-{n}" for n in range(7)]
    await world.create(*names)
    found = await pages(world, limit=3)
    assert [len(page) for page in found] == [3, 3, 1]
    assert sorted(chain.from_iterable(found)) == names


async def test_the_newest_come_first(world):
    """Order of creation, backwards."""
    for name in "abc":
        await world.create(name)
        world.clock.now += 1
    assert await pages(world, limit=2) == [["c", "b"], ["a"]]


async def test_what_is_created_meanwhile_does_not_move_the_next_page(world):
    """A keyset cursor stands at a row, not at a number of rows."""
    await world.create("a", "b", "c")
    first = await world.run(list_instances("order", read_query(None, 2, None)), "read")
    world.clock.now += 1
    await world.create("new")
    second = await world.run(list_instances("order", read_query(None, 2, first.cursor)), "read")
    assert len({item.id for item in (*first.items, *second.items)}) == 3
    assert second.cursor is None


async def test_a_last_full_page_has_no_cursor(world):
    """The cursor leads to a page that has something."""
    await world.create("a", "b")
    assert len(await pages(world, limit=2)) == 1


async def test_only_one_status_is_listed_when_asked(world):
    """By status, as text or as a `Status`, with its own pages."""
    await world.create("o-1", "o-2", "o-3")
    await world.finish("o-2")
    assert await pages(world, limit=5, status="complete") == [["o-2"]]
    assert await pages(world, limit=1, status=Status.ACTIVE) == [["o-3"], ["o-1"]]


async def test_a_restarted_instance_is_listed_once(world):
    """Only the newest run of an instance is listed (E6)."""
    await world.create("o-1")
    await world.run(steer.restart(world.dialect, Target("order", "o-1"), 50, None, None))
    page = await world.run(list_instances("order", read_query(None, 5, None)), "read")
    assert [(item.id, item.run_number) for item in page.items] == [("o-1", 2)]


def test_a_cursor_is_url_safe_and_reads_back():
    """Opaque text for query strings."""
    cursor = write_cursor(1_700_000_000_000, 2**62)
    assert cursor.isascii()
    assert set(cursor).isdisjoint("+/=&? ")
    assert read_cursor(cursor) == (1_700_000_000_000, 2**62)


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "nonsense",
        "a" * 22,
        "é",
        7,
        None,
        b"abc",
        "x" * 5000,
        write_cursor(1, 2) + "=",
        write_cursor(1, 2)[:-1],
        base64.urlsafe_b64encode(b"\x02" + bytes(16)).decode().rstrip("="),
        base64.urlsafe_b64encode(b"\x01" + b"\xff" * 16).decode().rstrip("="),
    ],
)
def test_garbage_cursors_are_refused(garbage):
    """A cursor that no listing gave is a bad request, not a crash and not a first page (H)."""
    with pytest.raises(InvalidInputError, match=r"page\.cursor"):
        read_cursor(garbage)


@pytest.mark.parametrize("limit", [0, -1, LIMIT_MAX + 1, 2.5, "10", True, None])
def test_bad_limits_are_refused(limit):
    """1 to 1000."""
    with pytest.raises(InvalidInputError, match="limit"):
        read_query(None, limit, None)


@pytest.mark.parametrize("status", ["running", "", 3])
def test_bad_statuses_are_refused_with_the_known_ones(status):
    """H: the message lists the statuses."""
    with pytest.raises(InvalidInputError, match="active, waiting, paused"):
        read_query(status, 10, None)
