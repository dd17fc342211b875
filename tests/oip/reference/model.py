"""The reference server's model: two outputs of three features, in two versions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.oip.target import DTYPES

MODEL = "Reference"
VERSIONS = ("1", "2")
FEATURES, WIDTH = "Features", 3
DATATYPE = "FP64"
OUTPUTS = {"score": ("FP64", (-1,)), "order": ("INT64", (-1, WIDTH))}
"""Data type and shape of each output."""

WEIGHTS = np.array([1.0, 10.0, 100.0])


class RefusedRequestError(Exception):
    """A request that the protocol does not allow.

    Attributes:
        variant: The broken server that answers it as if it were valid.
        status: HTTP status.
    """

    def __init__(self, variant: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.variant = variant
        self.status = status


@dataclass(frozen=True, slots=True)
class ModelTensor:
    """A tensor with its elements.

    Attributes:
        name: Of an input or output.
        values: Elements in the tensor's shape; their dtype is that of the data type.
    """

    name: str
    values: np.ndarray


def model_metadata() -> dict[str, object]:
    """Return the metadata in the form of the REST binding; the names are gRPC's too."""
    outputs = [
        {"name": name, "datatype": datatype, "shape": list(shape)}
        for name, (datatype, shape) in OUTPUTS.items()
    ]
    return {
        "name": MODEL,
        "versions": list(VERSIONS),
        "platform": "numpy_dot",
        "inputs": [{"name": FEATURES, "datatype": DATATYPE, "shape": [-1, WIDTH]}],
        "outputs": outputs,
    }


def chosen(endpoint: str, model: str, version: str) -> str:
    """Return the version to use.

    Args:
        endpoint: ``infer``, ``model`` (metadata) or ``model_ready``.
        model: Asked for.
        version: Asked for; empty means the newest.

    Raises:
        RefusedRequestError: There is no such model or version.
    """
    accepts = {
        "infer": ("accepts an unknown model", "accepts an unknown version"),
        "model": ("metadata of any model", "metadata of any version"),
        "model_ready": ("any model is ready", "any version is ready"),
    }[endpoint]
    if model != MODEL:
        variant = accepts[0]
        if model.lower() == MODEL.lower():
            variant = (
                "infers for a model in any case" if endpoint == "infer" else "models in any case"
            )
        raise RefusedRequestError(variant, f"unknown model {model!r}", 404)
    if version and version not in VERSIONS:
        raise RefusedRequestError(accepts[1], f"unknown version {version!r}", 404)
    return version or VERSIONS[-1]


def checked_datatype(datatype: str) -> np.dtype:
    """Return the numpy type of an input's data type."""
    if datatype != DATATYPE:
        any_case = datatype.upper() in DTYPES and datatype not in DTYPES
        variant = "accepts a datatype in any case" if any_case else "accepts an unknown datatype"
        raise RefusedRequestError(variant, f"datatype {datatype!r} is not {DATATYPE}")
    return DTYPES[datatype]


def checked_name(name: str) -> None:
    """Check that an input exists."""
    if name != FEATURES:
        any_case = name.lower() == FEATURES.lower()
        variant = "accepts an input's name in any case" if any_case else "accepts an unknown input"
        raise RefusedRequestError(variant, f"unknown input {name!r}")


def checked_shape(shape: Sequence[int], count: int) -> None:
    """Check that a shape has as many elements as there are."""
    if min(shape, default=0) < 0:
        raise RefusedRequestError("accepts a negative dimension", f"negative dimension in {shape}")
    due = int(np.prod(shape))
    if count != due or list(shape[1:]) != [WIDTH]:
        variant = "accepts too few elements" if count < due else "accepts too many elements"
        raise RefusedRequestError(variant, f"{count} elements in shape {list(shape)}")


def inferred(inputs: Sequence[ModelTensor], wanted: Sequence[str]) -> list[ModelTensor]:
    """Return the wanted outputs in their order; all of them if none are wanted.

    Raises:
        RefusedRequestError: The input is missing, or an output is unknown.
    """
    if not inputs:
        raise RefusedRequestError("accepts that an input is missing", f"{FEATURES} is missing")
    for name in wanted:
        if name not in OUTPUTS:
            raise RefusedRequestError("accepts an unknown output", f"unknown output {name!r}")
    rows = inputs[0].values
    found = {
        "score": (rows * WEIGHTS).sum(axis=1),
        "order": np.argsort(rows, axis=1, kind="stable").astype(np.int64),
    }
    return [ModelTensor(name, found[name]) for name in wanted or OUTPUTS]
