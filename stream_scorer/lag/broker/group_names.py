"""Which groups of a cluster are watched."""

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase


def is_pattern(name: str) -> bool:
    """Return whether a name stands for several groups: it has ``*`` or ``?``.

    >>> [is_pattern(each) for each in ("fraud", "fraud-*", "a[1]")]
    [False, True, False]
    """
    return "*" in name or "?" in name


def matching(names: Iterable[str], patterns: Iterable[str]) -> set[str]:
    """Return the names that match a pattern.

    A bracket is a character like any other: names of groups have them.

    >>> sorted(matching(["a1", "a[1]-x", "b"], ["a[1]*", "b?"]))
    ['a[1]-x']
    """
    escaped = [pattern.replace("[", "[[]") for pattern in patterns]
    return {name for name in names if any(fnmatchcase(name, each) for each in escaped)}


def limited(names: Iterable[str], watched: Collection[str], most: int) -> set[str]:
    """Return a limited number of names: first those that are watched already, then by the alphabet.

    So a group that is made later cannot displace one that is watched.

    >>> sorted(limited(["a", "b", "c"], {"c"}, 2))
    ['a', 'c']
    """
    return set(sorted(names, key=lambda name: (name not in watched, name))[: max(most, 0)])
