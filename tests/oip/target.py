"""The server that the suite asks, and what it has to know about the server's model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np

DTYPES: Mapping[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Little-endian numpy types of the protocol's fixed-size data types."""

DATATYPES = frozenset(DTYPES) | {"BYTES"}
"""All data types of the protocol."""

FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The repeated field of ``InferTensorContents`` for each data type that has one."""


@dataclass(frozen=True, slots=True)
class SampleInput:
    """The model's one input, with valid rows.

    Attributes:
        name: Of the tensor.
        datatype: One of ``DTYPES`` with a field in ``FIELDS``.
        rows: At least three rows of equal width ≥ 2, for which the model's outputs differ.
    """

    name: str
    datatype: str
    rows: tuple[tuple[float, ...], ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows[0])

    def raw(self, rows: int) -> bytes:
        """Return the first rows as little-endian bytes, row by row."""
        return np.asarray(self.rows[:rows], DTYPES[self.datatype]).tobytes()


@dataclass(frozen=True, slots=True)
class OipTarget:
    """A running server with a loaded model.

    Attributes:
        url: Base URL without a trailing slash, ``http://HOST:PORT``.
        grpc: ``HOST:PORT`` of the gRPC binding, without TLS.
        model: Name of the model.
        version: A version that may be asked for; None if the model has no versions.
        input: Its one input.
        outputs: Names of all its outputs.
        headers: Sent with each request, lower case, for example ``authorization``. In gRPC they
            are the call's metadata.
    """

    url: str
    grpc: str
    model: str
    version: str | None
    input: SampleInput
    outputs: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict)

    def path(self, rest: str = "", *, model: str = "", version: str = "") -> str:
        """Return the path of the model or of another one.

        Args:
            rest: What follows, for example ``/infer``.
            model: Another name than the target's.
            version: With this version; without one if empty.
        """
        versions = f"/versions/{quote(version, safe='')}" if version else ""
        return f"/v2/models/{quote(model or self.model, safe='')}{versions}{rest}"


def sample_rows(width: int, datatype: str) -> tuple[tuple[float, ...], ...]:
    """Return three different rows of small values that each data type can represent exactly.

    Args:
        width: Number of columns, at least 1.
        datatype: Of the input; whole numbers unless it is a float.
    """
    step = 0.25 if datatype.startswith("FP") else 1
    return tuple(
        tuple(step * ((5 * row + 3 * column + row * column) % 7) for column in range(width))
        for row in range(3)
    )
