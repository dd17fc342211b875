"""The WebAssembly module in wasmtime, with the interface of ``NativeScorer``."""

from typing import Any

import numpy as np
import wasmtime
from numpy.typing import NDArray

from stream_scorer.edge.native.image import RESULT
from tests.support.edge.native_library import RefusedImage

AT_ONCE = 4_096
"""Rows of a call."""
_EVENT_BYTES = 16
_EVENT = np.dtype([("amount", "<i8"), ("values", "<u4"), ("zero", "<u4")])


class WasmScorer:
    """Scores rows with the module.

    Args:
        module: The module.
        data: The image.

    Raises:
        RefusedImage: The kernel refuses the image.
    """

    def __init__(self, module: bytes, data: bytes) -> None:
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        instance = wasmtime.Instance(self._store, wasmtime.Module(engine, module), [])
        self._exports: Any = instance.exports(self._store)
        self._memory: Any = self._exports["memory"]
        self._model = self._call("ss_reserve", self._call("ss_model_size"))
        at = self._put(self._call("ss_reserve", len(data)), data)
        code = self._call("ss_open", self._model, at, len(data))
        if code:
            raise RefusedImage(code)
        self.features = self._call("ss_feature_count", self._model)
        self.fields = self._call("ss_field_count", self._model)
        self.segments = self._call("ss_segment_count", self._model)
        sizes = (
            self._call("ss_scratch_size", self._model), AT_ONCE * self.features * 8,
            AT_ONCE * max(self.fields, 1) * 2, AT_ONCE * _EVENT_BYTES, AT_ONCE * RESULT.itemsize,
        )  # fmt: skip
        self._scratch, self._rows, self._values, self._events, self._results = (
            self._call("ss_reserve", size) for size in sizes
        )

    def _call(self, name: str, *arguments: int) -> int:
        found: int = self._exports[name](self._store, *arguments)
        return found

    def _put(self, at: int, data: bytes) -> int:
        self._memory.write(self._store, data, at)
        return at

    def results(
        self, rows: NDArray[np.float64], amounts: NDArray[np.int64] | None = None,
        values: NDArray[np.uint16] | None = None,
    ) -> NDArray[np.void]:  # fmt: skip
        """Return RESULT[n] of rows, float64[n, m]; without amounts, without events."""
        found = [
            self._some(
                rows[first : first + AT_ONCE],
                None if amounts is None else amounts[first : first + AT_ONCE],
                None if values is None else values[first : first + AT_ONCE],
            )
            for first in range(0, len(rows), AT_ONCE)
        ]
        return np.concatenate(found)

    def again(self, count: int = AT_ONCE) -> None:
        """Score so many rows of the last call again, without copying them."""
        self._call(
            "ss_decide_rows", self._model, self._rows, count, 0, self._scratch, self._results
        )

    def _some(
        self, rows: NDArray[np.float64], amounts: NDArray[np.int64] | None,
        values: NDArray[np.uint16] | None,
    ) -> NDArray[np.void]:  # fmt: skip
        count, events = len(rows), 0
        self._put(self._rows, np.ascontiguousarray(rows).tobytes())
        if amounts is not None:
            events = self._events
            each = np.zeros(count, _EVENT)
            each["amount"] = amounts
            each["values"] = self._values + np.arange(count) * self.fields * 2
            self._put(self._events, each.tobytes())
            if values is not None:
                self._put(self._values, values.astype("<u2").tobytes())
        code = self._call(
            "ss_decide_rows", self._model, self._rows, count, events, self._scratch, self._results
        )
        assert code == 0, code
        end = self._results + count * RESULT.itemsize
        return np.frombuffer(bytes(self._memory.read(self._store, self._results, end)), RESULT)
