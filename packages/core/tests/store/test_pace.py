"""When COMMIT leaves the loop's thread, and when it comes back."""

from keepstep.store.pace import PROBE_EVERY, CommitPace


def test_fast_commits_stay_inline():
    """A flush below the threshold is cheaper than a hand-over."""
    pace = CommitPace(1.0)
    for _ in range(1_000):
        assert not pace.hand_over()
        pace.inline_took(0.9)


def test_one_outlier_does_not_count():
    """A checkpoint takes long once in a while."""
    pace = CommitPace(1.0)
    for _ in range(100):
        pace.inline_took(0.2)
    pace.inline_took(500.0)
    assert not pace.hand_over()


def test_slow_commits_are_handed_over_and_probed():
    """The disk is measured again and again, and fast commits come back inline."""
    pace = CommitPace(1.0)
    while not pace.hand_over():
        pace.inline_took(2.0)
    probes = []
    for _ in range(10 * PROBE_EVERY):
        inline = not pace.hand_over()
        probes.append(inline)
        if inline:
            pace.inline_took(2.0)
    assert sum(probes) == 10
    commits = 0
    while pace.hand_over() or commits < PROBE_EVERY * 100:
        commits += 1
        pace.inline_took(0.1)
    assert not any(pace.hand_over() for _ in range(PROBE_EVERY * 2))


def test_a_threshold_of_zero_hands_over_from_the_start():
    """What tests of the writer thread ask for."""
    assert CommitPace(0).hand_over()
