"""A clock that tests move."""


class ManualClock:
    """Time that the test moves; the database's too, for an app that is given it.

    Attributes:
        ms: what it shows.
    """

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        """Wall clock."""
        return self.ms

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.ms / 1000
