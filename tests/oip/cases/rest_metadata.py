"""Metadata over REST."""

from typing import Any

from tests.oip.registry import FIRST, REST, cases_of, expect, versioned
from tests.oip.rest import accepted, get, refused
from tests.oip.target import DATATYPES, OipTarget

case = cases_of("rest", "core", REST)

SERVER = "Server Metadata Response JSON Object"
MODEL = "Model Metadata Response JSON Object"
VERSIONS = (
    '"versions" : The model versions that may be explicitly requested via the appropriate endpoint.'
)
TENSOR = '$metadata_tensor = { "name" : $string, "datatype" : $string, "shape" : [ $number, ... ] }'
ERROR = "A failed model metadata request must be indicated by an HTTP error status (typically 400)."
MODEL_ERROR = (
    "A failed model metadata request must be indicated by an HTTP error status (typically 400). "
    "The HTTP body must contain the *$metadata_model_error_response* object."
)


def server(target: OipTarget) -> dict[str, Any]:
    return accepted(get(target, "/v2"))


def model(target: OipTarget, version: str = "") -> dict[str, Any]:
    return accepted(get(target, target.path(version=version)))


def tensors(target: OipTarget) -> list[dict[str, Any]]:
    document = model(target)
    return [*document["inputs"], *document["outputs"]]


@case(
    "server.status",
    SERVER,
    "A successful server metadata request is indicated by a 200 HTTP status code.",
    "server metadata with 202",
)
def server_status(target: OipTarget) -> None:
    answer = get(target, "/v2")
    expect(answer.status == 200, f"status {answer.status}")


@case("server.name", SERVER, "“name” : A descriptive name for the server.", "server without a name")
def server_name(target: OipTarget) -> None:
    name = server(target).get("name")
    expect(isinstance(name, str) and name, f"name is {name!r}")


@case("server.version", SERVER, '"version" : The server version.', "server version as a number")
def server_version(target: OipTarget) -> None:
    version = server(target).get("version")
    expect(isinstance(version, str) and version, f"version is {version!r}")


@case(
    "server.extensions",
    SERVER,
    "“extensions” : The extensions supported by the server.",
    "server without extensions",
)
def server_extensions(target: OipTarget) -> None:
    found = server(target).get("extensions")
    valid = isinstance(found, list) and all(isinstance(one, str) for one in found)
    expect(valid, f"extensions are {found!r}")


@case(
    "model.status",
    MODEL,
    "A successful model metadata request is indicated by a 200 HTTP status code.",
    "model metadata with 202",
)
def model_status(target: OipTarget) -> None:
    answer = get(target, target.path())
    expect(answer.status == 200, f"status {answer.status}")


@case("model.name", MODEL, "“name” : The name of the model.", "another model's name")
def model_name(target: OipTarget) -> None:
    name = model(target).get("name")
    expect(name == target.model, f"name is {name!r}")


@case(
    "model.versions",
    MODEL,
    VERSIONS,
    "a version missing in versions",
)
def model_versions(target: OipTarget) -> None:
    version, found = versioned(target), model(target).get("versions")
    expect(isinstance(found, list) and version in found, f"versions are {found!r}")


@case(
    "model.versions_answer",
    MODEL,
    VERSIONS,
    "a version in versions that is not served",
)
def model_versions_answer(target: OipTarget) -> None:
    versioned(target)
    for version in model(target).get("versions", []):
        model(target, version)


@case(
    "model.platform",
    MODEL,
    "“platform” : The framework/backend for the model.",
    "no platform",
)
def model_platform(target: OipTarget) -> None:
    platform = model(target).get("platform")
    expect(isinstance(platform, str) and platform, f"platform is {platform!r}")


@case("model.inputs", MODEL, "“inputs” : The inputs required by the model.", "no inputs")
def model_inputs(target: OipTarget) -> None:
    names = [tensor["name"] for tensor in model(target)["inputs"]]
    expect(names == [target.input.name], f"inputs are {names}")


@case("model.outputs", MODEL, "“outputs” : The outputs produced by the model.", "no outputs")
def model_outputs(target: OipTarget) -> None:
    names = [tensor["name"] for tensor in model(target)["outputs"]]
    expect(sorted(names) == sorted(target.outputs), f"outputs are {names}")


@case("tensor.name", MODEL, TENSOR, "tensor metadata without a name")
def tensor_name(target: OipTarget) -> None:
    names = [tensor.get("name") for tensor in tensors(target)]
    expect(names and all(isinstance(name, str) for name in names), f"names are {names}")


@case(
    "tensor.datatype",
    MODEL,
    '"datatype" : The data-type of the tensor elements as defined in [Tensor Data Types]',
    "a datatype of numpy in the metadata",
)
def tensor_datatype(target: OipTarget) -> None:
    found = [tensor.get("datatype") for tensor in tensors(target)]
    expect(found and set(found) <= DATATYPES, f"datatypes are {found}")


@case("tensor.shape", MODEL, TENSOR, "a shape with null in the metadata")
def tensor_shape(target: OipTarget) -> None:
    shapes = [tensor.get("shape") for tensor in tensors(target)]
    valid = [
        isinstance(shape, list) and all(type(size) is int and size >= -1 for size in shape)
        for shape in shapes
    ]
    expect(valid and all(valid), f"shapes are {shapes}")


@case(
    "tensor.variable",
    MODEL,
    "Variable-size dimensions are specified as -1.",
    "a variable dimension as 1",
)
def tensor_variable(target: OipTarget) -> None:
    for tensor in tensors(target):
        shape = tensor["shape"]
        # The suite asks for one row and for more of them, so the number of rows is variable.
        expect(shape and shape[0] == -1, f"shape of {tensor['name']} is {shape}")


@case(
    "model.version_path",
    "HTTP/REST",
    "GET | v2/models/\\<model_name\\>[/versions/\\<model_version\\>]",
    "no metadata of a version",
)
def model_version_path(target: OipTarget) -> None:
    document = model(target, versioned(target))
    expect(document.get("name") == target.model, f"name is {document.get('name')!r}")


@case(
    "model.unknown",
    "Model Metadata Response JSON Error Object",
    ERROR,
    "metadata of any model",
)
def model_unknown(target: OipTarget) -> None:
    answer = get(target, target.path(model="no-such-model"))
    expect(400 <= answer.status < 600, f"status {answer.status}")


@case(
    "model.unknown_body",
    "Model Metadata Response JSON Error Object",
    MODEL_ERROR,
    "a metadata error without an object",
)
def model_unknown_body(target: OipTarget) -> None:
    refused(get(target, target.path(model="no-such-model")))


@case(
    "model.unknown_version",
    "Model Metadata Response JSON Error Object",
    MODEL_ERROR,
    "metadata of any version",
)
def model_unknown_version(target: OipTarget) -> None:
    versioned(target)
    refused(get(target, target.path(version="no-such-version")))


@case(
    "model.case",
    f"{FIRST}#HTTP/REST",
    "All strings in all contexts are case-sensitive.",
    "models in any case",
)
def model_case(target: OipTarget) -> None:
    answer = get(target, target.path(model=target.model.swapcase()))
    expect(400 <= answer.status < 600, f"status {answer.status}")
