"""Scores of an ONNX model by ONNX Runtime, on one thread, in blocks of one fixed size.

Libraries choose their kernels by the size of a matrix, and so a row's last bits by its batch. Here
ONNX Runtime always receives the same number of rows. The last block is padded with the reference
row. The import measures whether a row's bits then depend on anything but the row; if they do, a
block has one row (``importing/onnx/independence.py``).

The graph is run as it is in the file: at the level "no optimisations" nothing is computed when a
model is loaded, and no version replaces operators by others. All sessions of a process share one
memory pool with a limit. The first run has a time limit, which is checked between two operators,
and the second one is measured: a model that would take too long for one row's attributions is
refused. So the time to load a bundle has a limit, too.

A session belongs to the process that created it. The scorer's workers are new processes that load
their own bundles. A process that was forked from one with a session may not use that session.
"""

import functools
import importlib
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.predictors.rows import checked

Float64 = NDArray[np.float64]

BLOCK_ROWS: Final = 64
"""Rows of a block unless the file or the measurement requires another number."""

BLOCK_ROWS_MOST: Final = 4096
FEATURES_MOST: Final = 2048
"""Maximum number of features: attributions of a row need memory for its square, 64 MiB here."""

MEMORY_BYTES_MOST: Final = 1024 * 1024 * 1024
"""Maximum memory of all sessions of a process together, initialisers and intermediate results."""

FIRST_RUN_SECONDS_MOST: Final = 10.0

ROW_SECONDS_MOST: Final = 1.0
"""Maximum processor time for the attributions of one row."""

OLDEST_RUNTIME: Final = (1, 32)
"""Oldest version of ONNX Runtime; 1.23 read outside its memory for some files."""

_ALIGNMENT: Final = 64
"""Bytes: a line of the cache, and the alignment of ONNX Runtime's own memory."""

_first_use = threading.Lock()

_PATH_ROWS: Final = 4096
"""Rows that are made at a time for attributions."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A judged ONNX file, and how it is run.

    Attributes:
        data: The file, without a ZipMap.
        input_name: The input, [rows, features].
        double: Whether it is float64; otherwise features are rounded to float32.
        output_name: The output, [rows], [rows, 1] or [rows, classes].
        column: The column of the fraud class; 0 if there is one column.
        block_rows: Rows of a block.
        reference: float64[m], the row that pads blocks and from which attributions are counted:
            the medians of the training data.

    Raises:
        ModelError: A count is outside its limits.
    """

    data: bytes
    input_name: str
    double: bool
    output_name: str
    column: int
    block_rows: int
    reference: Float64

    def __post_init__(self) -> None:
        fits = self.reference.ndim == 1 and 0 < len(self.reference) <= FEATURES_MOST
        fits = fits and self.reference.dtype == np.float64 and self.column >= 0
        if not (fits and 0 < self.block_rows <= BLOCK_ROWS_MOST):
            raise ModelError(
                f"ONNX model: a reference row of {len(self.reference):,} features, a block of "
                f"{self.block_rows:,} rows or the column {self.column:,} is outside the limits "
                f"(1 to {FEATURES_MOST:,} features, 1 to {BLOCK_ROWS_MOST:,} rows)",
                "import a model with fewer features",
            )

    @property
    def feature_count(self) -> int:
        """The number of features of a row."""
        return len(self.reference)


class OnnxPredictor:
    """The predictor of an ONNX model.

    The raw score is the probability itself: many networks give exactly 0 or 1 in float32, which
    has no finite log-odds.

    Args:
        model: The model.

    Raises:
        ModelError: ONNX Runtime is not installed or too old, refuses the model, is too slow, or
            gives another output than one number or one row of numbers for each row.
    """

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.feature_count = model.feature_count
        self._number: Any = np.float64 if model.double else np.float32
        self._runtime = runtime()
        self._process = os.getpid()
        self._session = self._open()
        # Numbers that are too large for float32 become infinite, as in the model's own library.
        block = np.tile(model.reference, (model.block_rows, 1))
        self._shape = self._first(block).shape
        self.classes = self._shape[1] if len(self._shape) > 1 else 1
        if model.column >= self.classes:
            raise ModelError(
                f"ONNX model: it has {self.classes} columns, none of number {model.column}",
                "import the model again",
            )
        began = time.thread_time()
        self.base = float(self.block_scores(block)[0])
        runs = -(-2 * self.feature_count // model.block_rows)
        seconds = (time.thread_time() - began) * runs
        if seconds > ROW_SECONDS_MOST:
            raise ModelError(
                f"ONNX model: the attributions of one row take {seconds:.1f} s, more than "
                f"{ROW_SECONDS_MOST:g} s",
                "import a smaller model, or one with fewer features",
            )

    def _open(self) -> Any:
        library = self._runtime
        options = library.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = library.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        for name, value in (
            ("session.use_env_allocators", "1"),
            ("session.set_denormal_as_zero", "0"),
            ("session.intra_op.allow_spinning", "0"),
        ):
            options.add_session_config_entry(name, value)
        try:
            return library.InferenceSession(
                self.model.data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 the library's errors have no common class
            raise _refused("does not load", error) from None

    def _first(self, block: Float64) -> NDArray[Any]:
        """Run the first block within the time limit, and judge the form of its output."""
        options = self._runtime.RunOptions()
        options.log_severity_level = 4
        timer = threading.Timer(FIRST_RUN_SECONDS_MOST, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            found = self._run(block, options)
        finally:
            timer.cancel()
        fits = isinstance(found, np.ndarray) and found.dtype in (np.float32, np.float64)
        if not (fits and found.ndim in (1, 2) and found.size and len(found) == len(block)):
            shape = getattr(found, "shape", None)
            raise ModelError(
                f"ONNX model: for {len(block)} rows its output is {type(found).__name__} of shape "
                f"{shape}, not one number or one row of float numbers for each row",
                "export the model with the probability as its only output",
            )
        return found

    def _run(self, block: Float64, options: Any = None) -> Any:
        model = self.model
        if os.getpid() != self._process:
            raise ModelError(
                "ONNX model: it was loaded before this process was forked",
                "load the bundle in the process that scores",
            )
        rows = self._input(block)
        try:
            return self._session.run([model.output_name], {model.input_name: rows}, options)[0]
        except Exception as error:  # noqa: BLE001 the library's errors have no common class
            raise _refused("cannot be run", error) from None

    def _input(self, block: Float64) -> NDArray[Any]:
        """Return a block as the model takes it, at an address that is always equally aligned.

        Libraries may begin to add at the first aligned number. Another alignment would then be
        another order of additions.
        """
        size = block.size * np.dtype(self._number).itemsize
        space = np.empty(size + _ALIGNMENT, np.uint8)
        begin = -space.ctypes.data % _ALIGNMENT
        rows = space[begin : begin + size].view(self._number).reshape(block.shape)
        with np.errstate(over="ignore"):
            rows[:] = block
        return rows

    def block_scores(self, block: Float64) -> Float64:
        """Return float64[block rows]: the scores of one complete block.

        Args:
            block: float64[block rows, m].

        Raises:
            ModelError: ONNX Runtime fails, or the output has another shape than at the start.
        """
        found = self._run(block)
        if found.shape != self._shape:
            raise ModelError(
                f"ONNX model: its output has shape {found.shape}, not {self._shape}",
                "export the model so that each row has its own output",
            )
        column = found[:, self.model.column] if found.ndim > 1 else found
        return column.astype(np.float64)

    def scores(self, features: Float64) -> Float64:
        """Return float64[n]: the probability of fraud; a row has the same bits in any batch.

        Args:
            features: float64[n, m].

        Raises:
            ModelError: The rows do not fit the model, or ONNX Runtime fails.
        """
        rows = checked(features, self.feature_count)
        size = self.model.block_rows
        out = np.empty(len(rows))
        for begin in range(0, len(rows), size):
            block = rows[begin : begin + size]
            count = len(block)
            if count < size:
                padded = np.tile(self.model.reference, (size, 1))
                padded[:count] = block
                block = padded
            out[begin : begin + count] = self.block_scores(block)[:count]
        return out

    def raw(self, features: Float64) -> Float64:
        """Return float64[n]: the probability, which attributions explain.

        Args:
            features: float64[n, m].

        Raises:
            ModelError: As for :meth:`scores`.
        """
        return self.scores(features)

    def attributions(self, features: Float64) -> tuple[Float64, float]:
        """Return (float64[n, m], base): a row's attributions and the base add up to its raw score.

        The base is the score of the reference row. The features of the reference row are replaced
        by those of the row, one after the other, from first to last and from last to first. A
        feature's attribution is the mean of the two changes of the score. This is the mean of 2 of
        the m! orders whose mean SHAP is; features that act only together share their effect. It
        needs 2 * m scores a row. Where a mixed row has no finite score, the previous one counts.

        Args:
            features: float64[n, m].

        Raises:
            ModelError: As for :meth:`scores`.
        """
        rows = checked(features, self.feature_count)
        out = np.empty(rows.shape)
        step = max(1, _PATH_ROWS // (2 * self.feature_count))
        for begin in range(0, len(rows), step):
            out[begin : begin + step] = self._changes(rows[begin : begin + step])
        return out, self.base

    def _changes(self, rows: Float64) -> Float64:
        """Return float64[n, m]: the mean changes of the score of some rows."""
        count = self.feature_count
        replaced = np.arange(count) < np.arange(1, count + 1)[:, None]
        mixed = np.concatenate([replaced, replaced[:-1, ::-1]])
        points = np.where(mixed, rows[:, None, :], self.model.reference)
        found = self.scores(points.reshape(-1, count)).reshape(len(rows), -1)
        forward, backward = found[:, :count], found[:, count:]
        backward = np.concatenate([backward, forward[:, -1:]], axis=1)
        return (self._steps(forward) + self._steps(backward)[:, ::-1]) / 2

    def _steps(self, path: Float64) -> Float64:
        """Return float64[n, m]: the change of each step of a path, which begins at the base."""
        out = np.empty(path.shape)
        last = path.shape[1] - 1
        before = np.full(len(path), self.base)
        for step in range(last + 1):
            after = path[:, step]
            if step < last:
                after = np.where(np.isfinite(after), after, before)
            out[:, step] = after - before
            before = after
        return out


def runtime() -> Any:
    """Return ONNX Runtime, with the memory limit of this process.

    Raises:
        ModelError: It is not installed, or too old.
    """
    # The limit can be set once, and two threads may load their first model together.
    with _first_use:
        return _runtime()


@functools.cache
def _runtime() -> Any:
    try:
        library: Any = importlib.import_module("onnxruntime")
    except ImportError:
        raise ModelError(
            "ONNX model: onnxruntime is not installed",
            "install stream-scorer with its extra `onnx`",
        ) from None
    found = re.match(r"([0-9]{1,6})\.([0-9]{1,6})", library.__version__)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_RUNTIME:
        oldest = ".".join(map(str, OLDEST_RUNTIME))
        raise ModelError(
            f"ONNX model: onnxruntime {library.__version__} is installed, {oldest} or newer is "
            "required",
            "upgrade onnxruntime",
        )
    library.disable_telemetry_events()
    # The arena grows by what is requested, not by powers of two.
    limits = library.OrtArenaCfg({"max_mem": MEMORY_BYTES_MOST, "arena_extend_strategy": 1})
    memory = library.OrtMemoryInfo(
        "Cpu", library.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, library.OrtMemType.DEFAULT
    )
    library.create_and_register_allocator(memory, limits)
    return library


def _refused(what: str, error: Exception) -> ModelError:
    """Return the library's error as one line."""
    text = " ".join(str(error).split())
    shown = text if len(text) <= 300 else text[:300] + "..."  # noqa: PLR2004 what a reader reads
    return ModelError(f"ONNX model: it {what}: {shown}", "export the model again")
