"""``/v1/edge``: its operations, from the types that read and write its JSON."""

from typing import Any, Final

import msgspec

from stream_scorer.edge.claims.contract import SEQUENCE_MOST
from stream_scorer.serving.edge.service import EVENTS_PATH, PROGRESS_PATH
from stream_scorer.serving.edge.upload_body import EdgeUpload, EdgeUploadAnswer, UploadedProgress
from stream_scorer.serving.openapi.operation import (
    ApiOperation,
    Described,
    DocumentedAnswer,
    schema_ref,
)
from stream_scorer.serving.web.messages import JSON

_TAG: Final = "edge"
_OF_DEVICE: Final = ("edge-unknown", "edge-revoked", "edge-unavailable")


def edge_operations() -> Described:
    """Return the operations of ``/v1/edge``."""
    upload = ApiOperation(
        f"POST {EVENTS_PATH}", "uploadEdgeRows", "Publish what a device decided",
        {
            200: DocumentedAnswer(
                "All rows are published.", {JSON: schema_ref(EdgeUploadAnswer.__name__)}
            )
        },
        _TAG,
        "The client is the device. Rows that are published already are skipped, so an upload "
        "without an answer can be repeated. A refused upload publishes nothing.",
        body={JSON: schema_ref(EdgeUpload.__name__)},
        problems=(
            "edge-invalid", "edge-order", "edge-device", "edge-gap", "edge-fork", "edge-too-large",
            "edge-signature", *_OF_DEVICE,
        ),
    )  # fmt: skip
    progress = ApiOperation(
        f"GET {PROGRESS_PATH}", "edgeProgress", "Return up to which row a device is published",
        {
            200: DocumentedAnswer(
                "The progress of the client's device.",
                {JSON: schema_ref(UploadedProgress.__name__)},
            )
        },
        _TAG, problems=("edge-unknown", "edge-unavailable"),
    )  # fmt: skip
    tags = {_TAG: "Devices upload what they decided offline."}
    return Described((upload, progress), _schemas(), tags)


def _schemas() -> dict[str, Any]:
    _, found = msgspec.json.schema_components(
        (EdgeUpload, EdgeUploadAnswer, UploadedProgress), ref_template="#/components/schemas/{name}"
    )
    row = found["UploadedRow"]["properties"]
    row["sequence"] |= {"minimum": 1, "maximum": SEQUENCE_MOST}
    found["EdgeUpload"]["properties"]["rows"]["minItems"] = 1
    return found
