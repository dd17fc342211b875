"""What the readers of JSON and UBJ return, and their common limits."""

from typing import Final, TypeAlias, Union

from stream_scorer.models.importing.xgboost.number_lists import NumberList
from stream_scorer.models.importing.xgboost.refusals import refuse

BYTES_MOST: Final = 256 * 1024 * 1024
"""Of a model file; the largest that we know of have 60 MB."""
LEVELS_MOST: Final = 32
"""Of objects and lists inside each other; a model has nine."""
TEXT_MOST: Final = 1024 * 1024
"""Bytes of one text; the longest are the settings that the scikit-learn wrapper keeps."""
VALUES_MOST: Final = 1 << 20
"""Of values that are not in a list of numbers: a tree has 22, and a model at most 32,768 trees."""

Value: TypeAlias = Union[  # noqa: UP007 a recursive alias needs quotes
    dict[str, "Value"], list["Value"], NumberList, str, int, float, None
]
"""A document: objects, lists, lists of numbers, texts, numbers, true, false and null."""


class ValueCount:
    """Counts the values of a document."""

    def __init__(self) -> None:
        self._seen = 0

    def add(self) -> None:
        """Count one more value.

        Raises:
            ModelError: There are more than :data:`VALUES_MOST`.
        """
        self._seen += 1
        if self._seen > VALUES_MOST:
            refuse(f"it has more than {VALUES_MOST:,} values outside lists of numbers")
