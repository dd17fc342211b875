"""A profiler of a user's own transactions and labels publishes the expected rows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import Kafka
from stream_scorer.telemetry import BatchCommitted
from tests.support.terminals.stage import (
    Sent,
    expected,
    foreign_label,
    month,
    profiled,
    rows_of,
    send,
)

pytestmark = pytest.mark.kafka

EVENTS = """
[record]
format = "json"
[fields]
transaction_id = "no"
customer_id = "card"
event_time = {path = "paid", unit = "s"}
amount = {path = "sum", unit = "minor"}
currency = {constant = "EUR"}
terminal_id = "till"
[labels]
format = "json"
where = "state == final"
transaction_id = "payment"
customer_id = "card"
event_time = {path = "paid", unit = "s"}
is_fraud = "bad"
label_time = {path = "booked", unit = "iso8601"}
"""


@dataclass(frozen=True, slots=True)
class Foreign(Sent):
    """A record of a user's own topic."""

    state: str = "final"

    @property
    def value(self) -> bytes:
        """The payload."""
        if self.fraud is not None:
            return foreign_label(self, self.state)
        paid: dict[str, Any] = {
            "no": str(self.number), "card": self.key.decode(), "till": self.terminal,
            "paid": self.event_time / 1_000, "sum": 100,
        }  # fmt: skip
        return json.dumps(paid).encode()


@pytest.mark.parametrize("missing", ["", pytest.param("event_time", marks=pytest.mark.thorough)])
def test_rows_of_a_users_labels_are_those_of_the_rule(
    missing: str,
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    tmp_path: Path,
) -> None:
    (tmp_path / "plan.toml").write_text("[currencies]\nEUR = 2\n")
    fields, labels = EVENTS.split("[labels]")
    if missing:
        labels = "".join(line for line in labels.splitlines(True) if not line.startswith(missing))
    (tmp_path / "events.toml").write_text(f"{fields}[labels]{labels}")
    kafka = kafka_topics(kafka_settings())
    # Without the event time of its transaction, a label has its own time.
    records = [
        each for each in month()
        if not missing or each.fraud is None or each.label_time is not None
    ]  # fmt: skip
    theirs: list[Sent] = []
    for number, record in enumerate(records):
        if number % 20 == 0:
            # An open label, which must not count: it states the opposite.
            theirs.append(
                Foreign(record.number, record.event_time, not record.fraud,
                        record.event_time, record.customer,
                        "open")
            )  # fmt: skip
        theirs.append(
            Foreign(record.number, record.event_time, record.fraud, record.label_time,
                    record.customer)
        )  # fmt: skip
    send(kafka, theirs)
    told = profiled(kafka, len(theirs), deployment=Deployment(start="earliest", plan=tmp_path))
    rows, watermark = rows_of(kafka)
    assert rows == expected(records, watermark)
    assert len({fraud for _, _, fraud in rows}) == 2
    batches = [each for each in told if isinstance(each, BatchCommitted)]
    assert sum(each.skipped for each in batches) == len(theirs) - len(records)
    assert {reason for each in batches for reason in each.rejected} == {"DUPLICATE"}
