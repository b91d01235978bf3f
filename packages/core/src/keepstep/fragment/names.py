"""Names of mounted fragments, and of what is stored under them (C10, G2)."""

from __future__ import annotations

import keyword

from keepstep.errors import UsageError

NAME_MAX = 32
SEPARATOR = "__"
"""Between a fragment's name and the name of a workflow or hook; C10 knows no dot."""


def check_fragment_name(name: object) -> str:
    """Return ``name`` if a fragment may have it.

    Raises:
        UsageError: it may not.
    """
    fits = isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= NAME_MAX
    if not isinstance(name, str) or not fits or keyword.iskeyword(name):
        raise UsageError(
            f"a fragment's name is a Python identifier of at most {NAME_MAX} ASCII characters, not {name!r}"
        )
    if name.startswith("_") or name.endswith("_") or SEPARATOR in name or name == "keepstep":
        raise UsageError(
            f"a fragment cannot be named {name!r}: not keepstep, without '{SEPARATOR}', and with no underscore "
            "at its ends"
        )
    return name


def stored_name(mount: str, name: str) -> str:
    """The name under which a mounted fragment's workflow or hook is stored: ``billing__collect``."""
    return f"{mount}{SEPARATOR}{name}"
