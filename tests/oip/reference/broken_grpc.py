"""The broken variants of gRPC, by name; see ``broken_rest`` for those that accept too much."""

from collections.abc import Callable
from typing import Any

import numpy as np

Change = Callable[[Any, Any], None]
"""Takes the answer and the request."""


def part(**fields: Any) -> Change:
    """Return a change that sets fields of the answer."""

    def changed(answer: Any, _: Any) -> None:
        for name, value in fields.items():
            setattr(answer, name, value)

    return changed


def cleared(*fields: str) -> Change:
    """Return a change that clears fields of the answer."""

    def changed(answer: Any, _: Any) -> None:
        for name in fields:
            answer.ClearField(name)

    return changed


def _versions(answer: Any, _: Any) -> None:
    answer.versions[:] = ["2"]


def _tensors(change: Callable[[Any], None]) -> Change:
    def changed(answer: Any, _: Any) -> None:
        for tensor in (*getattr(answer, "inputs", ()), *answer.outputs):
            change(tensor)

    return changed


def _numpy(tensor: Any) -> None:
    tensor.datatype = "float64"


def _narrow(tensor: Any) -> None:
    tensor.datatype = "FP32"


def _one_row(tensor: Any) -> None:
    tensor.shape[0] = 1


def _ascii_id(answer: Any, _: Any) -> None:
    answer.id = answer.id.encode("ascii", "replace").decode()


def _first_only(answer: Any, request: Any) -> None:
    if not request.outputs:
        del answer.outputs[1:]
        del answer.raw_output_contents[1:]


def _both_forms(answer: Any, _: Any) -> None:
    if answer.raw_output_contents:
        answer.outputs[0].contents.fp64_contents.append(0.0)


def _too_few(answer: Any, _: Any) -> None:
    if not answer.raw_output_contents:
        answer.outputs[0].contents.fp64_contents.pop()


def _other_field(answer: Any, _: Any) -> None:
    contents = answer.outputs[0].contents
    contents.fp32_contents.extend(contents.fp64_contents)
    contents.ClearField("fp64_contents")


def _other_values(answer: Any, _: Any) -> None:
    for tensor in answer.outputs:
        for place, value in enumerate(tensor.contents.fp64_contents):
            tensor.contents.fp64_contents[place] = value + 1.0


AFTER: dict[str, tuple[str, Change]] = {
    "not live": ("ServerLive", part(live=False)),
    "not ready": ("ServerReady", part(ready=False)),
    "model not ready": ("ModelReady", part(ready=False)),
    "server without a name": ("ServerMetadata", cleared("name")),
    "server without a version": ("ServerMetadata", cleared("version")),
    "another name over gRPC": ("ServerMetadata", part(name="grpc")),
    "another model's name": ("ModelMetadata", part(name="model")),
    "a version missing in versions": ("ModelMetadata", _versions),
    "no platform": ("ModelMetadata", cleared("platform")),
    "no inputs": ("ModelMetadata", cleared("inputs")),
    "no outputs": ("ModelMetadata", cleared("outputs")),
    "a datatype of numpy in the metadata": ("ModelMetadata", _tensors(_numpy)),
    "a variable dimension as 1": ("ModelMetadata", _tensors(_one_row)),
    "answer without the model's name": ("ModelInfer", cleared("model_name")),
    "answer without the model's version": ("ModelInfer", cleared("model_version")),
    "another version than asked for": ("ModelInfer", part(model_version="2")),
    "ignores the id": ("ModelInfer", cleared("id")),
    "the id's other letters replaced": ("ModelInfer", _ascii_id),
    "the first output only": ("ModelInfer", _first_only),
    "an output's datatype of numpy": ("ModelInfer", _tensors(_numpy)),
    "a datatype that the metadata do not name": ("ModelInfer", _tensors(_narrow)),
    "the shape of one row": ("ModelInfer", _tensors(_one_row)),
    "outputs in both forms": ("ModelInfer", _both_forms),
    "an element too few": ("ModelInfer", _too_few),
    "typed outputs in another type's field": ("ModelInfer", _other_field),
    "other values over gRPC": ("ModelInfer", _other_values),
}
"""What such a server changes in the answers of one method."""


def _transposed(request: Any) -> None:
    for tensor in request.inputs:
        values = np.reshape(tensor.contents.fp64_contents, tuple(tensor.shape)).T.ravel()
        tensor.contents.fp64_contents[:] = values.tolist()


def _raw_transposed(request: Any) -> None:
    for place, raw in enumerate(request.raw_input_contents):
        values = np.frombuffer(raw, "<f8").reshape(tuple(request.inputs[place].shape))
        request.raw_input_contents[place] = values.T.tobytes("C")


BEFORE: dict[str, Callable[[Any], None]] = {
    "all outputs where one is asked for": lambda request: request.ClearField("outputs"),
    "columns before rows": _transposed,
    "reads raw inputs column by column": _raw_transposed,
}
"""What such a server understands in place of an inference request."""


def _parameters_of(tensors: Any) -> bool:
    return any(tensor.parameters for tensor in tensors)


REFUSED: dict[str, Callable[[str, Any], bool]] = {
    "no readiness of a version": lambda method, request: (
        method == "ModelReady" and bool(request.version)
    ),
    "no metadata of a version": lambda method, request: (
        method == "ModelMetadata" and bool(request.version)
    ),
    "refuses to be asked for outputs": lambda method, request: (
        method == "ModelInfer" and bool(request.outputs)
    ),
    "refuses typed contents": lambda method, request: (
        method == "ModelInfer" and not request.raw_input_contents
    ),
    "refuses raw contents": lambda method, request: (
        method == "ModelInfer" and bool(request.raw_input_contents)
    ),
    "refuses parameters of a request": lambda method, request: (
        method == "ModelInfer" and bool(request.parameters)
    ),
    "refuses parameters of an input": lambda method, request: (
        method == "ModelInfer" and _parameters_of(request.inputs)
    ),
    "refuses parameters of an output": lambda method, request: (
        method == "ModelInfer" and _parameters_of(request.outputs)
    ),
}
"""Which valid calls such a server refuses."""
