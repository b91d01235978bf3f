"""A process's estimate of database time is never ahead of it, whatever its own clocks show (B5, D3)."""

from keepstep.engine.seams import DatabaseClock


class Machine:
    """A machine's clocks, moved by the test."""

    def __init__(self, wall_ms):
        self.wall_ms, self.seconds = wall_ms, 100.0

    def now_ms(self):
        """Wall clock."""
        return self.wall_ms

    def monotonic(self):
        """Monotonic clock."""
        return self.seconds


def test_a_wall_clock_that_is_ahead_is_corrected_by_the_first_answer():
    """Also when it is ahead by less than a second."""
    machine = Machine(10_900)
    clock = DatabaseClock(machine)
    asked_at = clock.monotonic()
    machine.seconds += 0.1
    clock.observe(10_050, asked_at)
    assert clock.now_ms() == 10_050


def test_a_fast_monotonic_clock_is_corrected_by_each_answer():
    """It gained 400 ms since the last answer: the next one takes them back."""
    machine = Machine(10_000)
    clock = DatabaseClock(machine)
    clock.observe(10_000, clock.monotonic())
    machine.seconds += 10.4
    clock.observe(20_000, clock.monotonic())
    assert clock.now_ms() == 20_000


def test_a_slow_answer_does_not_set_the_estimate_back():
    """It was read before it came: the later of the two holds."""
    machine = Machine(10_000)
    clock = DatabaseClock(machine)
    clock.observe(10_000, clock.monotonic())
    machine.seconds += 1
    asked_at = clock.monotonic()
    machine.seconds += 5
    before = clock.now_ms()
    clock.observe(11_100, asked_at)
    assert clock.now_ms() == before


def test_between_answers_it_runs_a_little_slower_than_the_machine():
    """By as much as a clock may be fast."""
    machine = Machine(10_000)
    clock = DatabaseClock(machine)
    clock.observe(10_000, clock.monotonic())
    machine.seconds += 10
    assert clock.now_ms() == 19_995


def test_what_the_database_found_past_is_past():
    """A machine that slept believes an earlier time; what the database says is due is due, and no more than that."""
    machine = Machine(10_000)
    clock = DatabaseClock(machine)
    clock.observe(machine.now_ms(), clock.monotonic())
    known = clock.now_ms()
    clock.passed(known + 5_000)
    assert clock.now_ms() == known + 5_000
    clock.passed(known + 1_000)
    assert clock.now_ms() == known + 5_000


def test_an_answer_that_was_overtaken_does_not_set_the_estimate_back():
    """Asked first and answered last: it says nothing of the estimate that a later question's answer gave."""
    machine = Machine(10_000)
    clock = DatabaseClock(machine)
    asked_at = clock.monotonic()
    machine.seconds += 3
    clock.observe(13_000, clock.monotonic())
    clock.observe(10_000, asked_at)
    assert clock.now_ms() == 13_000
