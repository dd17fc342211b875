"""The device's answers as JSON, and its problems."""

import math
from typing import Any, Final

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.core.decision.decide import ModelFailure
from stream_scorer.core.events.batch import Flag
from stream_scorer.edge.device.decide import RecordRejected
from stream_scorer.edge.device.recent import DeviceAnswer
from stream_scorer.edge.device.scorer import DeviceRefused
from stream_scorer.serving.web.problems import BUSY_TITLE, Problem

_REFUSALS: Final = {
    "another-body": (409, "another-body", "The transaction's id was used for another body."),
    "outbox-full": (507, "edge-outbox-full", "Too many rows wait for their upload."),
    "storage-full": (507, "edge-storage-full", "The device's disk is full."),
    "busy": (503, "overloaded", BUSY_TITLE),
    "stopped": (503, "unavailable", "No decision can be made now."),
}
"""Status, kind and title of each kind of ``DeviceRefused``."""
_CODES: Final = {
    "another-body": "ANOTHER_BODY", "edge-outbox-full": "OUTBOX_FULL",
    "edge-storage-full": "STORAGE_FULL", "overloaded": "BUSY", "unavailable": "UNAVAILABLE",
    "invalid-json": "INVALID_JSON", "too-large": "TOO_LARGE",
}  # fmt: skip
"""The code of each kind of problem in a line of standard output."""
Refusal = DeviceRefused | RecordRejected | ModelFailure | JsonValueError


def document_of(answer: DeviceAnswer) -> dict[str, Any]:
    """Return an answer as JSON; times in ms, and no score where the model failed."""
    name, _, version = answer.release.partition(":")
    return {
        "sequence": answer.sequence, "decision": answer.outcome.name,
        "score": None if math.isnan(answer.score) else answer.score,
        "reasons": list(answer.reasons), "model": name, "model_version": version,
        "flags": [flag.name.lower() for flag in Flag if answer.flags & flag and flag.name],
        "decided_at": answer.decided_at,
    }  # fmt: skip


def problem_of(error: Refusal) -> Problem:
    """Return the problem of a transaction that has no decision."""
    if isinstance(error, RecordRejected):
        path, found, _ = error.detail.partition(": ")
        return Problem(
            422, "rejected", "The record is not a valid transaction.", error.detail,
            members={"reason": str(error.reason), "path": path if found else ""},
        )  # fmt: skip
    if isinstance(error, DeviceRefused):
        status, kind, title = _REFUSALS[error.kind]
        return Problem(status, kind, title, error.detail)
    if isinstance(error, ModelFailure):
        return Problem(503, *_REFUSALS["stopped"][1:], "the model failed for the transaction")
    return Problem(400, "invalid-json", "The body is not a transaction in JSON.", str(error))


def document_of_problem(problem: Problem) -> dict[str, Any]:
    """Return a problem as a member of a batch's answer."""
    return {
        "type": f"urn:stream-scorer:problem:{problem.kind}", "title": problem.title,
        "status": problem.status, "detail": problem.detail, **problem.members,
    }  # fmt: skip


def error_line(problem: Problem) -> dict[str, Any]:
    """Return a problem as a line of standard output: ``{"error": {"code": "OUTBOX_FULL", …}}``."""
    code = problem.members.get("reason") or _CODES.get(problem.kind, problem.kind)
    return {"error": {"code": code, "detail": problem.detail or problem.title}}
