"""Caches what was prepared for schemas, by id, up to a total size; least recently used leave first.

The size is bounded because a client may register any number of schemas and send records of each.
"""

from collections.abc import ItemsView
from typing import Final, Generic, TypeVar

Prepared = TypeVar("Prepared")

_MOST_BYTES: Final = 2 * 1024 * 1024
"""A prepared schema has about 40 times the memory of its text: 80 MiB."""


class RecentSchemas(Generic[Prepared]):
    """A cache of the most recently used values.

    Args:
        most_bytes: Maximum total size of the cached schemas' texts.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most_bytes
        self._values: dict[int, Prepared] = {}
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, schema_id: int) -> bool:
        return schema_id in self._values

    def items(self) -> ItemsView[int, Prepared]:
        """Return the cached values, the most recently used last."""
        return self._values.items()

    def find(self, schema_id: int) -> Prepared | None:
        """Return an id's cached value, and mark it as used."""
        value = self._values.pop(schema_id, None)
        if value is not None:
            self._values[schema_id] = value
        return value

    def peek(self, schema_id: int) -> Prepared | None:
        """Return an id's cached value without marking it as used."""
        return self._values.get(schema_id)

    def keep(self, schema_id: int, value: Prepared, size: int) -> None:
        """Add a value; remove the least recently used ones if necessary.

        Args:
            schema_id: Its id.
            value: The prepared value.
            size: Approximate bytes of its text.
        """
        self._sizes[schema_id] = size
        total = sum(self._sizes.values())
        while self._values and total > self._most:
            oldest = next(iter(self._values))
            del self._values[oldest]
            total -= self._sizes.pop(oldest)
        self._values[schema_id] = value
