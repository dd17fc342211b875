"""A valid transaction for which a scorer with a hook fails, or ends."""

import io
import json
from dataclasses import replace
from functools import cache
from typing import Any

import fastavro

from tests.faults.suite.scorer_with_hooks import POISON
from tests.faults.verifier.payloads import SCHEMAS, transaction
from tests.support.faults.reference_run import Record


@cache
def _schema() -> Any:
    return fastavro.parse_schema(json.loads((SCHEMAS / "transaction.v1.avsc").read_text()))


def poisoned(record: Record) -> Record:
    """Return a valid record's transaction with the device for which the seams act."""
    value = record.value or b""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _schema(), transaction(value) | {"device_id": POISON})
    return replace(record, value=value[:5] + out.getvalue(), bad="INTERNAL")
