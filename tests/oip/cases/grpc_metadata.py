"""Health and metadata over gRPC."""

from typing import Any

import grpc

from tests.oip.grpc_calls import accepted_call, call, refused_call
from tests.oip.registry import FIRST, GRPC, NotConformingError, cases_of, expect, versioned
from tests.oip.rest import accepted, get
from tests.oip.target import DATATYPES, OipTarget

case = cases_of("grpc", "core", GRPC)

CODES = (
    "For each of these endpoints errors are indicated by the google.rpc.Status returned for the "
    "request."
)
ERRORS = "Errors are indicated by the google.rpc.Status returned for the request."
SERVER = "Server Metadata"
MODEL = "Model Metadata"


def model(target: OipTarget, version: str = "") -> Any:
    return accepted_call(target, "ModelMetadata", name=target.model, version=version)


def not_ready(target: OipTarget, **fields: str) -> None:
    """Check that a model is not reported as ready, by its answer or by an error."""
    try:
        answer = call(target, "ModelReady", **fields)
    except grpc.RpcError as error:
        code = error.code()
        expect(code != grpc.StatusCode.UNIMPLEMENTED, f"status {code}")
        return
    if answer.ready:
        raise NotConformingError(f"{fields} is ready")


@case("live", "Server Live", "True if the inference server is live, false if not live.", "not live")
def live(target: OipTarget) -> None:
    expect(accepted_call(target, "ServerLive").live, "live is false")


@case("ready", "Server Ready", "True if the inference server is ready, false if not ready.",
      "not ready")  # fmt: skip
def ready(target: OipTarget) -> None:
    expect(accepted_call(target, "ServerReady").ready, "ready is false")


@case("model_ready", "Model Ready", "True if the model is ready, false if not ready.",
      "model not ready")  # fmt: skip
def model_ready(target: OipTarget) -> None:
    expect(accepted_call(target, "ModelReady", name=target.model).ready, "ready is false")


@case("model_ready.version", "Model Ready", "The version of the model to check for readiness.",
      "no readiness of a version")  # fmt: skip
def model_ready_version(target: OipTarget) -> None:
    fields = {"name": target.model, "version": versioned(target)}
    expect(accepted_call(target, "ModelReady", **fields).ready, "ready is false")


@case("model_ready.unknown_model", "Health", CODES, "any model is ready")
def model_ready_unknown(target: OipTarget) -> None:
    not_ready(target, name="no-such-model")


@case("model_ready.unknown_version", "Health", CODES, "any version is ready")
def model_ready_unknown_version(target: OipTarget) -> None:
    versioned(target)
    not_ready(target, name=target.model, version="no-such-version")


@case("server.name", SERVER, "The server name.", "server without a name")
def server_name(target: OipTarget) -> None:
    expect(accepted_call(target, "ServerMetadata").name, "the name is empty")


@case("server.version", SERVER, "The server version.", "server without a version")
def server_version(target: OipTarget) -> None:
    expect(accepted_call(target, "ServerMetadata").version, "the version is empty")


@case("server.same", "gRPC",
      "The GRPC API closely follows the concepts defined in the [HTTP/REST](./inference_rest.md) "
      "API.", "another name over gRPC")  # fmt: skip
def server_same(target: OipTarget) -> None:
    answer, document = accepted_call(target, "ServerMetadata"), accepted(get(target, "/v2"))
    found, due = (answer.name, answer.version), (document["name"], document["version"])
    expect(found == due, f"name and version are {found}, over REST {due}")


@case("model.name", MODEL, "The model name.", "another model's name")
def model_name(target: OipTarget) -> None:
    name = model(target).name
    expect(name == target.model, f"name is {name!r}")


@case("model.versions", MODEL, "The versions of the model available on the server.",
      "a version missing in versions")  # fmt: skip
def model_versions(target: OipTarget) -> None:
    version, found = versioned(target), list(model(target).versions)
    expect(version in found, f"versions are {found}")


@case("model.platform", MODEL, "The model's platform. See Platforms.", "no platform")
def model_platform(target: OipTarget) -> None:
    expect(model(target).platform, "platform is empty")


@case("model.inputs", MODEL, "The model's inputs.", "no inputs")
def model_inputs(target: OipTarget) -> None:
    found = [tensor.name for tensor in model(target).inputs]
    expect(found == [target.input.name], f"inputs are {found}")


@case("model.outputs", MODEL, "The model's outputs.", "no outputs")
def model_outputs(target: OipTarget) -> None:
    found = [tensor.name for tensor in model(target).outputs]
    expect(sorted(found) == sorted(target.outputs), f"outputs are {found}")


@case("tensor.datatype", MODEL, "The tensor data type.", "a datatype of numpy in the metadata")
def tensor_datatype(target: OipTarget) -> None:
    answer = model(target)
    found = [tensor.datatype for tensor in (*answer.inputs, *answer.outputs)]
    expect(found and set(found) <= DATATYPES, f"datatypes are {found}")


@case("tensor.variable", MODEL, "A variable-size dimension is represented by a -1 value.",
      "a variable dimension as 1")  # fmt: skip
def tensor_variable(target: OipTarget) -> None:
    answer = model(target)
    shapes = [list(tensor.shape) for tensor in (*answer.inputs, *answer.outputs)]
    expect(shapes and all(shape[:1] == [-1] for shape in shapes), f"shapes are {shapes}")


@case("model.version_asked", MODEL, "The version of the model to check for readiness.",
      "no metadata of a version")  # fmt: skip
def model_version_asked(target: OipTarget) -> None:
    name = model(target, versioned(target)).name
    expect(name == target.model, f"name is {name!r}")


@case("model.unknown", MODEL, ERRORS, "metadata of any model")
def model_unknown(target: OipTarget) -> None:
    refused_call(target, "ModelMetadata", name="no-such-model")


@case("model.unknown_version", MODEL, ERRORS, "metadata of any version")
def model_unknown_version(target: OipTarget) -> None:
    versioned(target)
    refused_call(target, "ModelMetadata", name=target.model, version="no-such-version")


@case("model.case", f"{FIRST}#GRPC", "All strings in all contexts are case-sensitive.",
      "models in any case")  # fmt: skip
def model_case(target: OipTarget) -> None:
    refused_call(target, "ModelMetadata", name=target.model.swapcase())
