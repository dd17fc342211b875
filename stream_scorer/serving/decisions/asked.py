"""The transactions of a request: parsed, encoded, judged by the active mapping; their stages."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.errors import RegistryUnavailableError
from stream_scorer.ports import BODY_HEADER, CLIENT_HEADER
from stream_scorer.serving.decisions import answers
from stream_scorer.serving.decisions.answers import DecisionAnswer
from stream_scorer.serving.decisions.correlation import PendingTransaction
from stream_scorer.serving.decisions.identity import key_of
from stream_scorer.serving.decisions.judging import Judgement, Rejection
from stream_scorer.serving.decisions.records import (
    EncodedRecord,
    RecordMaker,
    RequestBody,
    parse_body,
)
from stream_scorer.serving.web.messages import Caller, Request

Charge = Callable[[Caller, int], None]
"""Counts further requests of a caller; raises a ``Problem`` past a limit."""
_LARGE_BYTES: Final = 65_536
"""A larger body is parsed on a thread."""
_CLIENT_BYTES: Final = 255


@dataclass(frozen=True, slots=True)
class AskedTransaction:
    """A valid transaction of a request.

    Attributes:
        key: Its key in the window.
        record: Its record.
        fields: The customer, and the other fields that a decision repeats.
    """

    key: bytes
    record: EncodedRecord
    fields: dict[str, Any]

    @property
    def customer(self) -> str:
        """Its customer."""
        return str(self.fields["customer_id"])


async def parsed(body: bytes) -> RequestBody:
    """Parse a request's body.

    Raises:
        Problem: It is not JSON within the limits.
    """
    try:
        if len(body) > _LARGE_BYTES:
            return await asyncio.to_thread(parse_body, body)
        return parse_body(body)
    except JsonValueError as error:
        raise answers.invalid_json(error) from None


async def asked_transactions(
    values: Sequence[Any],
    maker: RecordMaker,
    judge: Callable[[Sequence[bytes]], Awaitable[list[Judgement]]],
) -> list[DecisionAnswer | AskedTransaction]:
    """Encode and judge records; those that are rejected have their answer.

    Args:
        values: n parsed records.
        maker: Encodes them.
        judge: Judges their values.

    Raises:
        Problem: The registry does not answer.
    """
    found: list[DecisionAnswer | AskedTransaction | None] = [None] * len(values)
    records: list[EncodedRecord] = []
    rows: list[int] = []
    for row, value in enumerate(values):
        try:
            records.append(maker.record(value))
            rows.append(row)
        except JsonValueError as error:
            found[row] = answers.rejected(Rejection("SCHEMA", str(error)))
    if records:
        try:
            judged = await judge([each.value for each in records])
        except RegistryUnavailableError:
            raise answers.unavailable("the schema registry does not answer") from None
        for row, record, judgement in zip(rows, records, judged, strict=True):
            if isinstance(judgement, Rejection):
                found[row] = answers.rejected(judgement)
            else:
                key = key_of(judgement.customer_id, judgement.transaction_id)
                own = {"customer_id": judgement.customer_id, **judgement.fields}
                found[row] = AskedTransaction(key, record, own)
    return [each for each in found if each is not None]


def record_headers(request: Request, record: EncodedRecord) -> list[tuple[str, bytes]]:
    """Return the headers of a record: the trace context, the client and the body's mark."""
    trace = (("traceparent", request.traceparent), ("tracestate", request.tracestate))
    found = [(name, value.encode("ascii", "ignore")) for name, value in trace if value]
    client = request.caller.client.encode()
    if len(client) <= _CLIENT_BYTES:
        found.append((CLIENT_HEADER, client))
    return [*found, (BODY_HEADER, record.mark.header)]


def report_stages(
    request: Request, produced: float, ended: float, pending: Iterable[PendingTransaction | None]
) -> None:
    """Report the stages of a request that is traced.

    ``judge`` ends when all records were given to the producer. ``produce`` ends with the last
    acknowledgement of the broker, and ``wait`` with the last decision, or with the time limit.

    Args:
        request: The request.
        produced: When all records were given to the producer, seconds of ``Request.arrived``.
        ended: When all decisions were there, or the time was over.
        pending: The transactions that were pending at ``produced``; None for one that had ended.
    """
    trace = request.trace
    trace.stage("judge", request.arrived, produced)
    waited = [each.acknowledged or ended for each in pending if each is not None]
    if waited:
        acknowledged = min(max(produced, *waited), ended)
        trace.stage("produce", produced, acknowledged)
        trace.stage("wait", acknowledged, ended)
