"""A request to the reference server and its reply, as the broken variants change them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(slots=True)
class RestCall:
    """A REST request.

    Attributes:
        method: HTTP method.
        headers: By lower-case name.
        endpoint: ``live``, ``ready``, ``server``, ``model``, ``model_ready`` or ``infer``.
        model: Asked for; empty where the path has none.
        version: The same.
        document: The JSON object of an inference.
        tail: Binary tensors after it.
        raw: Whether the body was a binary tensor without a JSON object.
    """

    method: str
    headers: Mapping[str, str]
    endpoint: str = ""
    model: str = ""
    version: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    tail: bytes = b""
    raw: bool = False

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The inputs of an inference."""
        return list(self.document.get("inputs", []))

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The requested outputs of an inference."""
        return list(self.document.get("outputs", []))


@dataclass(slots=True)
class RestReply:
    """A REST response before it is written.

    Attributes:
        endpoint: That of the call, or ``error``.
        call: The request.
        status: HTTP status.
        document: JSON object of the body; None for an empty body.
        blobs: Binary tensors after it.
        headers: In place of the right ones; None leaves one out.
        values: Elements of each output.
    """

    endpoint: str
    call: RestCall
    status: int
    document: dict[str, Any] | None
    blobs: list[bytes] = field(default_factory=list)
    headers: dict[str, str | None] = field(default_factory=dict)
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def written(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        head = b"" if self.document is None else json.dumps(self.document).encode()
        body = head + b"".join(self.blobs)
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        if self.blobs:
            headers["content-type"] = "application/octet-stream"
            headers["inference-header-content-length"] = str(len(head))
        given = {**headers, **self.headers}
        return self.status, {k: v for k, v in given.items() if v is not None}, body
