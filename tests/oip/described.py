"""A target made from what a server reports about its model."""

from collections.abc import Mapping

from tests.oip.registry import NotConformingError
from tests.oip.rest import accepted, get
from tests.oip.target import OipTarget, SampleInput, sample_rows


def described(
    url: str, grpc: str, model: str, *, version: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> OipTarget:  # fmt: skip
    """Return a target with the input and outputs of the model's metadata.

    Args:
        url: ``http://HOST:PORT``.
        grpc: ``HOST:PORT``.
        model: Name.
        version: A version that may be asked for; None takes the metadata's first one, if any.
        headers: Sent with each request, lower case.

    Raises:
        NotConformingError: The metadata cannot be had, or the model has not one input ``[-1, N]``.
    """
    sample = SampleInput("", "FP64", ((0.0,),))
    bare = OipTarget(url.rstrip("/"), grpc, model, version, sample, (), headers or {})
    found = accepted(get(bare, bare.path(version=version or "")))
    inputs = found["inputs"]
    if len(inputs) != 1 or len(inputs[0]["shape"]) != 2 or inputs[0]["shape"][1] < 1:
        raise NotConformingError(f"the suite needs one input with shape [-1, N], not {inputs}")
    name, datatype, width = inputs[0]["name"], inputs[0]["datatype"], inputs[0]["shape"][1]
    versions = found.get("versions") or []
    return OipTarget(
        bare.url, grpc, model, version or next(iter(versions), None),
        SampleInput(name, datatype, sample_rows(width, datatype)),
        tuple(output["name"] for output in found["outputs"]), bare.headers,
    )  # fmt: skip
