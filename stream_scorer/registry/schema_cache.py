"""What was prepared for schemas, by id: those used last, up to a total size.

Somebody may register any number of schemas and send a record of each.
"""

from collections.abc import ItemsView
from typing import Final, Generic, TypeVar

Prepared = TypeVar("Prepared")

_MOST_BYTES: Final = 8 * 1024 * 1024


class RecentSchemas(Generic[Prepared]):
    """Keeps what was used last.

    Args:
        most_bytes: How large the texts of all kept schemas may be together.
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
        """Return what is kept, the one used last at the end."""
        return self._values.items()

    def find(self, schema_id: int) -> Prepared | None:
        """Return what is kept of an id, which is used now."""
        value = self._values.pop(schema_id, None)
        if value is not None:
            self._values[schema_id] = value
        return value

    def keep(self, schema_id: int, value: Prepared, size: int) -> None:
        """Keep a new one; let others go, those first that were not used for longest.

        Args:
            schema_id: Of what.
            value: What was prepared.
            size: Bytes of its text, about.
        """
        self._sizes[schema_id] = size
        total = sum(self._sizes.values())
        while self._values and total > self._most:
            oldest = next(iter(self._values))
            del self._values[oldest]
            total -= self._sizes.pop(oldest)
        self._values[schema_id] = value
