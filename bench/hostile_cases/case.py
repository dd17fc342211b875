"""A hostile case: an attack on one door (entry point), and the documented answer to it.

The modules of cases import the product inside their functions, so that the same cases also run
against an older tree, where an entry point may be missing.
"""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ERROR_LENGTH = 300
"""Maximum length of an outcome in the report."""


class NotThereError(Exception):
    """The tree under test does not have the entry that a case attacks."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a case runs.

    Attributes:
        folder: An empty folder for this case.
        root: The root of the tree under test.
    """

    folder: Path
    root: Path


@dataclass(frozen=True, slots=True)
class Case:
    """One attack.

    Attributes:
        name: Unique: door, then the attack.
        item: Number of the item that the attack belongs to; see ``ITEMS``.
        rule: Key of the documented rule in ``rules.RULES``.
        expected: Regular expression that the outcome begins with.
        run: Attacks the real entry and returns in one line what happened.
        words: Regular expression that is also found in this tree's outcome: the words of the check
            that must answer, so that no other check passes for it. Older trees have other words.
    """

    name: str
    item: int
    rule: str
    expected: str
    run: Callable[[Place], str]
    words: str = ""

    @property
    def door(self) -> str:
        """The part of the name before the colon."""
        return self.name.partition(":")[0]

    def answers(self, outcome: str, *, exactly: bool = True) -> bool:
        """Return whether an outcome is the documented one; ``exactly``: in its own words, too."""
        if re.match(self.expected, outcome, re.DOTALL) is None:
            return False
        return not exactly or re.search(self.words, outcome, re.DOTALL) is not None


Row = (
    tuple[str, str, str, Callable[[Place], str]] | tuple[str, str, str, Callable[[Place], str], str]
)
"""The attack, and the case's ``rule``, ``expected``, ``run`` and, in some, ``words``."""


def cases(door: str, item: int, *rows: Row) -> tuple[Case, ...]:
    """Return the cases of one door and one item."""
    return tuple(
        Case(f"{door}: {row[0]}", item, row[1], row[2], row[3], row[4] if len(row) == 5 else "")
        for row in rows
    )


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def entry(module: str, *names: str) -> Any:
    """Return a module of the product, or the object of a name in it.

    Raises:
        NotThereError: The tree under test has no such module or name.
    """
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise NotThereError(str(error)) from error
    for name in names:
        if not hasattr(found, name):
            raise NotThereError(f"{module}: {name}")
        found = getattr(found, name)
    return found


def cut(text: str) -> str:
    """Return an outcome as the report shows it: printable, in one line, of bounded length."""
    shown = text.encode("ascii", "backslashreplace").decode()
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
    return shown if len(shown) <= ERROR_LENGTH else f"{shown[:ERROR_LENGTH]}..."
