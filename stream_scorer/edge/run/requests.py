"""Requests' JSON to records, as ``/v1`` and the producers of the input topic encode them."""

from dataclasses import dataclass
from typing import Any

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.edge.device.decide import RecordRejected
from stream_scorer.serving.decisions.records import EncodedRecord, RecordMaker, parse_body

_SCHEMA = "SCHEMA"


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A record of a request, for the device's scorer; see ``edge.device.decide.Encoded``.

    Attributes:
        record: The record.
        maker: Makes its key.
    """

    record: EncodedRecord
    maker: RecordMaker

    @property
    def value(self) -> bytes:
        """The record's value."""
        return self.record.value

    @property
    def digest(self) -> bytes:
        """Hash of the body, whatever its spaces and the order of its keys."""
        return self.record.mark.digest

    def key(self, customer: str) -> bytes:
        """Return the record's key.

        Raises:
            JsonValueError: The key's schema cannot hold the customer.
        """
        return self.maker.key(customer, self.record)


def encoded(value: Any, maker: RecordMaker) -> EncodedRequest:
    """Encode a parsed value.

    Raises:
        RecordRejected: It does not fit the schema, or exceeds a limit.
    """
    try:
        return EncodedRequest(maker.record(value), maker)
    except JsonValueError as error:
        raise RecordRejected(_SCHEMA, str(error)) from None


def parsed(body: bytes) -> tuple[tuple[Any, ...], bool]:
    """Return the values of a body, and whether they came as a batch.

    Raises:
        JsonValueError: It is not JSON within the limits.
    """
    found = parse_body(body)
    return found.values, found.batch
