"""Where a text stands in a file: what a message about a line of source must name."""

from pathlib import Path


def line_of(file: str, text: str) -> int:
    """The number of the one line that ends so."""
    found = [n for n, line in enumerate(Path(file).read_text().splitlines(), 1) if line.endswith(text)]
    assert len(found) == 1, f"{text!r} ends {len(found)} lines of {file}"
    return found[0]
