"""The device at a pipe: transactions in JSON, one a line, and their answers, one a line."""

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, BinaryIO, Final

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.core.decision.decide import ModelFailure
from stream_scorer.edge.device.decide import RecordRejected
from stream_scorer.edge.device.recent import DeviceAnswer
from stream_scorer.edge.device.scorer import DeviceRefused
from stream_scorer.edge.run.answers import document_of, error_line, problem_of
from stream_scorer.edge.run.open_device import Device
from stream_scorer.edge.run.requests import encoded, parsed
from stream_scorer.serving.web.problems import Problem

LINE_BYTES_MOST: Final = 4 * 1024 * 1024
_AHEAD: Final = 64
"""Lines that are scored while earlier ones are written to the disk."""
_REFUSALS: Final = (DeviceRefused, RecordRejected, ModelFailure, JsonValueError)
_ONE: Final = "a line is one object, not a batch"


def answer_lines(device: Device, lines: BinaryIO, out: BinaryIO, *, ahead: int = _AHEAD) -> None:
    """Answer each line of a file, in its order, until its end or until the device must stop.

    Args:
        device: The device.
        lines: Input.
        out: Output; flushed when an answer is there.
        ahead: Lines that may be scored before the first of them is answered. A program that waits
            for each answer is answered immediately: a line is read ahead only if it is there.

    Raises:
        StreamScorerError: The device cannot continue.
    """
    waiting: deque[Future[DeviceAnswer] | Problem] = deque()
    for line, more in _pieces(lines):
        waiting.append(_submitted(device, line))
        while waiting and (not more or len(waiting) >= ahead):
            _write(out, _settled(waiting.popleft()))
        if not waiting:
            out.flush()
        if device.failure is not None:
            raise device.failure
    # An operator may have revoked the device while it waited for a line.
    if device.failure is not None:
        raise device.failure


def _pieces(lines: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield lines without their ends, and whether another one is there already.

    Blank lines are left out. A line that is too long is empty.
    """
    buffered, skipping = b"", False
    while chunk := lines.read1(65_536):  # type: ignore[attr-defined]
        if skipping:
            _, end, chunk = chunk.partition(b"\n")
            skipping = not end
        *complete, buffered = (buffered + chunk).split(b"\n")
        found = [line if len(line) <= LINE_BYTES_MOST else b"" for line in complete if line.strip()]
        if len(buffered) > LINE_BYTES_MOST:
            found.append(b"")
            buffered, skipping = b"", True
        for left, line in zip(range(len(found) - 1, -1, -1), found, strict=True):
            yield line, left > 0
    if buffered.strip():
        yield buffered, False


def _submitted(device: Device, line: bytes) -> Future[DeviceAnswer] | Problem:
    if not line:
        return Problem(
            413, "too-large", "The line is too long.", f"at most {LINE_BYTES_MOST} bytes"
        )
    try:
        values, batch = parsed(line)
        if batch:
            raise JsonValueError(_ONE)
        return device.scorer.submit(encoded(values[0], device.maker))
    except _REFUSALS as error:
        return problem_of(error)


def _settled(found: Future[DeviceAnswer] | Problem) -> dict[str, Any]:
    if isinstance(found, Problem):
        return error_line(found)
    try:
        return document_of(found.result())
    except DeviceRefused as error:
        return error_line(problem_of(error))


def _write(out: BinaryIO, document: dict[str, Any]) -> None:
    out.write(json.dumps(document, separators=(",", ":")).encode() + b"\n")
