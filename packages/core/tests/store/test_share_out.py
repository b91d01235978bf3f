"""How the room of a claim is divided (B2, decision 0018)."""

from keepstep.store.claims import share_out


def test_room_is_shared_out_whole():
    """Shares differ by one at most; where there is less room than names the first ones have it."""
    assert share_out(7, ["a", "b", "c"]) == [("a", 3), ("b", 2), ("c", 2)]
    assert share_out(2, ["a", "b", "c"]) == [("a", 1), ("b", 1)]
    assert share_out(0, ["a"]) == share_out(5, []) == []
