"""The C kernel, compiled and loaded into this process, behind a class."""

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_scorer.edge.export.targets import NATIVE
from stream_scorer.edge.native.image import ALIGNMENT, RESULT

FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fno-fast-math", "-Wall", "-Wextra", "-Werror")
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t


def compiled(folder: Path, *, compiler: str = "gcc", flags: Sequence[str] = FLAGS) -> ctypes.CDLL:
    """Return the kernel as a shared library, compiled into a folder."""
    out = folder / f"kernel-{abs(hash((compiler, tuple(flags))))}.so"
    source = str(NATIVE / "stream_scorer_edge.c")
    subprocess.run([compiler, *flags, "-shared", "-fPIC", source, "-o", str(out)], check=True)  # noqa: S603 a compiler, on our source
    library = ctypes.CDLL(str(out))
    library.ss_model_size.restype = library.ss_scratch_size.restype = _SIZE
    library.ss_open.argtypes = [_POINTER, _POINTER, _SIZE]
    library.ss_scratch_size.argtypes = library.ss_feature_count.argtypes = [_POINTER]
    library.ss_field_count.argtypes = library.ss_segment_count.argtypes = [_POINTER]
    library.ss_value.argtypes = [_POINTER, ctypes.c_uint32, ctypes.c_char_p, _SIZE]
    library.ss_decide_rows.argtypes = [_POINTER, _POINTER, _SIZE, _POINTER, _POINTER, _POINTER]
    return library


def aligned(data: bytes) -> NDArray[np.uint8]:
    """Return a copy of bytes at a multiple of the alignment."""
    memory = np.zeros(len(data) + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    found = memory[start : start + len(data)]
    found[:] = np.frombuffer(data, np.uint8)
    return found


class RefusedImage(Exception):  # noqa: N818 the name states what happened
    """The kernel refuses an image."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class NativeScorer:
    """Scores rows with a compiled kernel.

    Args:
        library: From :func:`compiled`.
        data: The image.

    Raises:
        RefusedImage: The kernel refuses it.
    """

    def __init__(self, library: Any, data: bytes) -> None:
        self.library = library
        self._image = aligned(data)
        self._model = ctypes.create_string_buffer(library.ss_model_size())
        code = library.ss_open(self._model, self._image.ctypes.data, len(data))
        if code:
            raise RefusedImage(code)
        self._scratch = aligned(bytes(library.ss_scratch_size(self._model)))
        self.features = library.ss_feature_count(self._model)
        self.fields = library.ss_field_count(self._model)
        self.segments = library.ss_segment_count(self._model)
        self._last: Any = None

    def value(self, field: int, text: str | None) -> int:
        """Return the number of a text among the values that the policy names for a field."""
        data = None if text is None else text.encode()
        found: int = self.library.ss_value(self._model, field, data, len(data or b""))
        return found

    def results(
        self, rows: NDArray[np.float64], amounts: NDArray[np.int64] | None = None,
        values: NDArray[np.uint16] | None = None,
    ) -> NDArray[np.void]:  # fmt: skip
        """Return RESULT[n] of rows, float64[n, m]; without amounts, without events."""
        rows = np.ascontiguousarray(rows)
        found = np.zeros(len(rows), RESULT)
        events: Any = None
        numbers = np.zeros((len(rows), max(self.fields, 1)), np.uint16)
        if amounts is not None:
            if values is not None:
                numbers[:, : self.fields] = values
            events = np.zeros(len(rows), [("amount", np.int64), ("values", np.uintp)])
            events["amount"] = amounts
            events["values"] = numbers.ctypes.data + np.arange(len(rows)) * numbers.strides[0]
        # The events point to the numbers.
        self._last = (rows, events, found, numbers)
        self.again()
        return found

    def again(self) -> None:
        """Score the rows of the last call again, to the same results."""
        rows, events, found, _ = self._last
        code = self.library.ss_decide_rows(
            self._model, rows.ctypes.data, len(rows),
            None if events is None else events.ctypes.data, self._scratch.ctypes.data,
            found.ctypes.data,
        )  # fmt: skip
        assert code == 0, code
