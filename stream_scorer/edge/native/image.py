"""The table image of a model, as arrays of numpy; ``image.h`` has the same layout for C.

All numbers are little-endian. Offsets count from the start of the image and are multiples of 64.
This module is part of exported folders, so it imports nothing of stream-scorer.
"""

import hashlib
import math
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"SSEDGE1\0"
ABI: Final = 1
ALIGNMENT: Final = 64
LINEAR, MASKS, WALK = 0, 1, 2
"""The kinds of bodies."""
IMPUTE, AFFINE, MULTIPLY, CLIP, SELECT, INTEGERS, MISSING = range(1, 8)
"""The kinds of steps on a row."""
SIGMOID, SINGLE_SIGMOID, TABLE, PLATT = range(8, 12)
"""The kinds of steps from a margin to a score."""

HEADER: Final = np.dtype([
    ("magic", "V8"), ("abi", "<u4"), ("checksum", "<u4"), ("bytes", "<u8"),
    ("features", "<u4"), ("parts", "<u4"), ("steps", "<u4"), ("fields", "<u4"),
    ("segments", "<u4"), ("edges", "<u4"), ("on_model_error", "<u4"), ("zero", "<u4"),
    ("parts_at", "<u8"), ("steps_at", "<u8"), ("fields_at", "<u8"), ("edges_at", "<u8"),
    ("edge_bits_at", "<u8"), ("limits_at", "<u8"), ("name_starts_at", "<u8"), ("names_at", "<u8"),
])  # fmt: skip
STEP: Final = np.dtype([
    ("kind", "<u4"), ("count", "<u4"), ("a", "<f8"), ("b", "<f8"),
    ("first_at", "<u8"), ("second_at", "<u8"),
])  # fmt: skip
PART: Final = np.dtype([
    ("kind", "<u4"), ("width", "<u4"), ("first_step", "<u4"), ("before", "<u4"), ("after", "<u4"),
    ("single", "<u4"), ("divisor", "<f8"), ("scale", "<f8"), ("bias", "<f8"), ("baseline", "<f8"),
    ("trees", "<u4"), ("leaves", "<u4"), ("columns", "<u4"), ("cuts", "<u4"), ("places", "<u4"),
    ("groups", "<u4"), ("used", "<u4"), ("lines", "<u4"), ("nodes", "<u4"), ("levels", "<u4"),
    ("weights_at", "<u8"), ("columns_at", "<u8"), ("cuts_at", "<u8"), ("places_at", "<u8"),
    ("groups_at", "<u8"), ("used_at", "<u8"), ("table_at", "<u8"), ("values_at", "<u8"),
    ("nodes_at", "<u8"), ("first_cut_at", "<u8"), ("roots_at", "<u8"), ("depths_at", "<u8"),
])  # fmt: skip
COLUMN: Final = np.dtype([
    ("feature", "<i4"), ("start", "<i4"), ("levels", "<i4"), ("first", "<i4"), ("missing", "<i4"),
])  # fmt: skip
GROUP: Final = np.dtype([("line", "<i4"), ("used", "<i4")])
NODE: Final = np.dtype([
    ("threshold", "<f8"), ("left", "<i4"), ("feature", "<i2"), ("missing", "<i2"),
])  # fmt: skip
FIELD: Final = np.dtype([
    ("values", "<u4"), ("zero", "<u4"), ("bits_at", "<u8"), ("starts_at", "<u8"),
    ("texts_at", "<u8"),
])  # fmt: skip
GOLDEN_MAGIC: Final = b"SSGOLD1\0"
GOLDEN: Final = np.dtype([
    ("magic", "V8"), ("features", "<u4"), ("fields", "<u4"), ("rows", "<u8"), ("rows_at", "<u8"),
    ("amounts_at", "<u8"), ("values_at", "<u8"), ("results_at", "<u8"),
])  # fmt: skip
"""The start of ``golden.bin``; then float64[n, m], int64[n], uint16[n, fields] and RESULT[n]."""
RESULT: Final = np.dtype([
    ("margin", "<f8"), ("score", "<f8"), ("segment", "<i2"), ("outcome", "u1"),
    ("model_outcome", "u1"), ("failed", "u1"), ("reserved", "V3"),
])  # fmt: skip
"""``ss_result`` of the C interface."""


class ImageError(ValueError):
    """An image that is not one, or is damaged."""


class TableImage:
    """An image whose checksum is right.

    Args:
        data: The image.

    Attributes:
        digest: Its sha256.
        header: HEADER, its first bytes.
        parts: PART[parts].
        steps: STEP[steps], of all parts.
        fields: FIELD[fields], of the policy.

    Raises:
        ImageError: The data is not an image, is of another version, or is damaged.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER.itemsize or data[: len(MAGIC)] != MAGIC:
            raise ImageError("not a table image")
        self._data = data
        self.header: Any = np.frombuffer(data, HEADER, 1)[0]
        if self.header["abi"] != ABI:
            raise ImageError(f"an image for interface {self.header['abi']}, not {ABI}")
        if self.header["bytes"] != len(data):
            raise ImageError(f"{len(data)} bytes, not {self.header['bytes']}: truncated")
        if zlib.crc32(memoryview(data)[16:]) != self.header["checksum"]:
            raise ImageError("the checksum differs: damaged")
        self.digest = hashlib.sha256(data).digest()
        self.parts = self.array(self.header["parts_at"], PART, self.header["parts"])
        self.steps = self.array(self.header["steps_at"], STEP, self.header["steps"])
        self.fields = self.array(self.header["fields_at"], FIELD, self.header["fields"])

    def array(self, at: Any, dtype: Any, *shape: Any) -> NDArray[Any]:
        """Return a view of an array.

        Args:
            at: Where it starts.
            dtype: Its type.
            shape: Its shape.

        Raises:
            ImageError: It is not inside of the image.
        """
        kind, sizes = np.dtype(dtype), [int(size) for size in shape]
        count = math.prod(sizes)
        if at % ALIGNMENT or int(at) + count * kind.itemsize > len(self._data):
            raise ImageError("an array outside of the image: malformed")
        return np.frombuffer(self._data, kind, count, int(at)).reshape(sizes)

    def texts(self, starts_at: Any, count: Any, texts_at: Any) -> tuple[str, ...]:
        """Return ``count`` texts, whose starts and bytes are at two offsets."""
        starts = self.array(starts_at, "<u4", count + 1)
        data = self.array(texts_at, "u1", starts[-1]).tobytes()
        return tuple(data[start:end].decode() for start, end in pairwise(starts))

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of a row."""
        header = self.header
        return self.texts(header["name_starts_at"], header["features"], header["names_at"])

    def policy_fields(self) -> Iterator[tuple[str, tuple[str, ...], NDArray[np.uint64]]]:
        """Yield the name of each field that the policy needs, its values, and uint64[values + 1].

        The numbers have a bit for each segment that the value fits; the last is for all other
        values.
        """
        for field in self.fields:
            name, *values = self.texts(field["starts_at"], field["values"] + 1, field["texts_at"])
            yield name, tuple(values), self.array(field["bits_at"], "<u8", field["values"] + 1)
