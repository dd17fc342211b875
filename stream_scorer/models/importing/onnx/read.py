"""From an ONNX file to a model: judged, run, and its block size measured."""

import platform
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.imported import ImportedOnnx, ImportOptions, Parameter
from stream_scorer.models.importing.imported.model import TEXT_LONGEST
from stream_scorer.models.importing.onnx.bounds import fits, judge_run
from stream_scorer.models.importing.onnx.file import OnnxFile, judge
from stream_scorer.models.importing.onnx.independence import Measurement
from stream_scorer.models.importing.onnx.zip_map import without_zip_map
from stream_scorer.models.predictors.onnx_session import (
    BLOCK_ROWS,
    OnnxModel,
    OnnxPredictor,
    runtime,
)

Float64 = NDArray[np.float64]

ROWS_MOST: Final = 100_000
"""Rows of the data from which medians are computed and rows are drawn: the first ones."""


@dataclass(frozen=True, slots=True)
class JudgedOnnx:
    """An ONNX file that was judged, but not run yet.

    Attributes:
        data: The file.
        file: What it states.
        fraud_class: The label of the fraud class; None if the user names none.
    """

    data: bytes
    file: OnnxFile
    fraud_class: str | None

    def measured(self, rows: Float64) -> ImportedOnnx:
        """Return the model, after measuring the size of the blocks in which it is run.

        Args:
            rows: float64[n, m], features of the training or validation data in the manifest's
                order. The medians of the first :data:`ROWS_MOST` are the reference row.

        Raises:
            ModelError: The file does not fit the rows, gives no probability, or gives different
                bits for the same rows; the message names the cause.
        """
        file = self.file
        if rows.ndim != 2 or not len(rows):  # noqa: PLR2004 rows and columns
            raise ModelError("ONNX file: there are no rows to measure with", "give validation data")
        rows = np.ascontiguousarray(rows[:ROWS_MOST], np.float64)
        if file.feature_count not in (None, rows.shape[1]):
            raise ModelError(
                f"ONNX file: it takes {file.feature_count} features, the manifest lists "
                f"{rows.shape[1]}",
                "list the features on which the model was trained, in their order",
            )
        size = file.batch_rows or (BLOCK_ROWS if fits(file, BLOCK_ROWS, rows.shape[1]) else 1)
        judge_run(file, size, rows.shape[1])
        model = OnnxModel(
            data=without_zip_map(self.data, file),
            input_name=file.input_name,
            double=file.double,
            output_name=file.output_name,
            column=0,
            block_rows=size,
            reference=_medians(rows),
        )
        classes = OnnxPredictor(model).classes
        model = replace(model, column=_column(file, classes, self.fraud_class))
        predictor, depends_on = _measured(model, file, rows)
        _refuse_other_scores(predictor, rows)
        parameters: dict[str, Parameter] = {
            "block_rows": predictor.model.block_rows,
            "depends_on": depends_on,
            "input": "float64" if file.double else "float32",
            "onnxruntime": runtime().__version__[:TEXT_LONGEST],
            "opset": file.opset,
            "output_columns": classes,
            "processor": platform.machine()[:TEXT_LONGEST],
            "zip_map_removed": bool(file.zip_map),
        }
        return ImportedOnnx(predictor.model, file.producer, parameters, depends_on)


def judge_onnx(data: bytes, options: ImportOptions) -> JudgedOnnx:
    """Judge an ONNX file without running it.

    Args:
        data: The file.
        options: Of these, the fraud class is used.

    Raises:
        ModelError: The file is refused, an option does not apply, or ONNX Runtime is not installed;
            the message names the cause.
    """
    for name in ("rounds", "missing"):
        if getattr(options, name) is not None:
            raise ModelError(
                f"ONNX file: option --{name}: an ONNX model does not have it", "leave it out"
            )
    file = judge(data)
    if file.feature_count is not None:
        judge_run(file, file.batch_rows or 1, file.feature_count)
    runtime()
    return JudgedOnnx(data, file, options.fraud_class)


def read_onnx(data: bytes, options: ImportOptions, rows: Float64) -> ImportedOnnx:
    """Read an ONNX file, and measure the size of the blocks in which it is run.

    Args:
        data: The file.
        options: As for :func:`judge_onnx`.
        rows: As for :meth:`JudgedOnnx.measured`.

    Raises:
        ModelError: As for both.
    """
    return judge_onnx(data, options).measured(rows)


def _medians(rows: Float64) -> Float64:
    """Return float64[m]: the medians of the finite values; NaN for a column without any."""
    out = np.full(rows.shape[1], np.nan)
    for column, values in enumerate(rows.T):
        finite = values[np.isfinite(values)]
        if len(finite):
            out[column] = np.median(finite)
    return out


def _column(file: OnnxFile, columns: int, fraud_class: str | None) -> int:
    """Return the column of the fraud class; classes without labels have their numbers, from 0."""
    if columns == 1:
        if fraud_class is not None:
            raise ModelError(
                "ONNX file: its output has one column, so no fraud class can be chosen",
                "leave --fraud-class out",
            )
        return 0
    labels = file.classes if len(file.classes) == columns else tuple(map(str, range(columns)))
    if fraud_class is not None:
        if labels.count(fraud_class) != 1:
            shown = ", ".join(repr(each[:20]) for each in labels[:10])
            raise ModelError(
                f"ONNX file: no class {fraud_class!r}; its classes: {shown}", "name one of them"
            )
        return labels.index(fraud_class)
    if labels != ("0", "1"):
        raise ModelError(
            f"ONNX file: its output has {columns} columns whose classes are not 0 and 1",
            "name the fraud class with --fraud-class",
        )
    return 1


def _measured(model: OnnxModel, file: OnnxFile, rows: Float64) -> tuple[OnnxPredictor, str]:
    """Return the predictor with the measured block, and why the block is smaller; empty if not."""
    measurement = Measurement()
    predictor = OnnxPredictor(model)
    found = measurement.dependence(predictor, rows)
    if not found:
        return predictor, ""
    if model.block_rows > 1:
        if file.batch_rows is not None:
            raise ModelError(
                f"ONNX file: it takes {file.batch_rows} rows, and a row's bits depend on {found}",
                "export it for an open number of rows, or for 1",
            )
        alone = OnnxPredictor(replace(model, block_rows=1))
        if not measurement.dependence(alone, rows):
            return alone, found
    raise ModelError(
        "ONNX file: the same row does not have the same bits twice",
        "export the model without random operators",
    )


def _refuse_other_scores(predictor: OnnxPredictor, rows: Float64) -> None:
    scores = predictor.scores(rows[:1000])
    outside = ~((scores >= 0) & (scores <= 1))
    if outside.all() or (outside & np.isfinite(scores)).any() or not np.isfinite(predictor.base):
        raise ModelError(
            "ONNX file: its output is not a probability from 0 to 1",
            "export it with a sigmoid or softmax at its end, and with values for missing features",
        )
