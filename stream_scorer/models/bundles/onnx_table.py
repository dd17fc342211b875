"""The manifest's table ``onnx``: how ``model.onnx`` is run, and whether the file agrees with it.

Each value can change a score or a reason, so the table is a part of the content hash.
"""

from typing import Annotated, Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stream_scorer.errors import ModelError
from stream_scorer.models.importing.onnx.bounds import judge_run
from stream_scorer.models.importing.onnx.file import judge
from stream_scorer.models.predictors.onnx_session import (
    BLOCK_ROWS_MOST,
    FEATURES_MOST,
    OnnxModel,
    OnnxPredictor,
)

MODEL_ONNX: Final = "model.onnx"
"""The model of a bundle whose library is ONNX."""

_Name = Annotated[str, Field(min_length=1, max_length=1000)]


class OnnxTable(BaseModel):
    """How ``model.onnx`` is run.

    Attributes:
        input_name: The only input, [rows, features].
        double: Whether it is float64; otherwise it is float32.
        output_name: The output with the probability.
        column: The column of the fraud class; 0 if there is one column.
        block_rows: Rows of each run; the last block is padded with the reference row.
        reference: The reference row, a number for each feature; None for NaN.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    input_name: _Name
    double: bool
    output_name: _Name
    column: Annotated[int, Field(ge=0, lt=1 << 24)]
    block_rows: Annotated[int, Field(ge=1, le=BLOCK_ROWS_MOST)]
    reference: Annotated[tuple[float | None, ...], Field(min_length=1, max_length=FEATURES_MOST)]

    def meaning(self) -> dict[str, Any]:
        """Return what is hashed: all values."""
        return self.model_dump(mode="json")


def onnx_table(model: OnnxModel) -> OnnxTable:
    """Return the table of a model."""
    return OnnxTable(
        input_name=model.input_name,
        double=model.double,
        output_name=model.output_name,
        column=model.column,
        block_rows=model.block_rows,
        reference=tuple(None if np.isnan(x) else float(x) for x in model.reference),
    )


def onnx_model(data: bytes, table: OnnxTable, label: str) -> OnnxModel:
    """Return the model of a bundle, after judging its file and comparing it with the table.

    Args:
        data: The verified file.
        table: The manifest's table.
        label: The bundle, for messages.

    Raises:
        ModelError: The file is refused, or states something else than the table; the message names
            it.
    """
    try:
        file = judge(data)
    except ModelError as error:
        raise _refusal(label, error) from None
    if file.zip_map:
        raise ModelError(f"bundle {label}: {MODEL_ONNX}: it has a ZipMap", "import the model again")
    for name, stated, found in (
        ("input_name", table.input_name, file.input_name),
        ("double", table.double, file.double),
        ("output_name", table.output_name, file.output_name),
        ("block_rows", table.block_rows, file.batch_rows),
        ("reference", len(table.reference), file.feature_count),
    ):
        if found is not None and found != stated:
            raise ModelError(
                f"bundle {label}: the manifest's onnx.{name} is not that of {MODEL_ONNX}",
                "restore the manifest, or import the model again",
            )
    try:
        judge_run(file, table.block_rows, len(table.reference))
    except ModelError as error:
        raise _refusal(label, error) from None
    reference = np.array([np.nan if x is None else x for x in table.reference], np.float64)
    return OnnxModel(
        data=data,
        input_name=table.input_name,
        double=table.double,
        output_name=table.output_name,
        column=table.column,
        block_rows=table.block_rows,
        reference=reference,
    )


def onnx_predictor(model: OnnxModel, label: str) -> OnnxPredictor:
    """Return the predictor of a bundle's model.

    Raises:
        ModelError: ONNX Runtime is not installed, or refuses the model.
    """
    try:
        return OnnxPredictor(model)
    except ModelError as error:
        raise _refusal(label, error) from None


def _refusal(label: str, error: ModelError) -> ModelError:
    what = error.what.removeprefix("ONNX file: ").removeprefix("ONNX model: ")
    return ModelError(f"bundle {label}: {MODEL_ONNX}: {what}", error.fix)
