"""All that read labels agree on what a record states, also one of a newer release."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.codec.reading.mapped import open_label_decoder
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.labelling.contract import DISPUTED, FRAUD, GENUINE, STATE_NAMES, UNKNOWN
from stream_scorer.core.labelling.states import states_of
from stream_scorer.core.terminals.columns import labels_of
from stream_scorer.dataset.statements import StatementReader
from stream_scorer.performance.process.columns import PerformanceColumns
from stream_scorer.performance.process.names import Names
from stream_scorer.ports import BytesColumn, RawRecords
from stream_scorer.registry.sources import reader_schema
from stream_scorer.rollout.controller.columns import EvidenceColumns
from stream_scorer.settings import SCHEMAS_DIRECTORY
from tests.support.performance.published import label
from tests.support.rollout.rollout_stage import manifest_of

Reader = Callable[[RawRecords, Path], Any]
NEW = "WITHDRAWN"
"""A state that only a newer release has."""
STATED: list[tuple[str | None, bool, int]] = [
    (None, True, FRAUD), (None, False, GENUINE), ("FRAUD", True, FRAUD),
    ("GENUINE", False, GENUINE), ("UNKNOWN", False, UNKNOWN), ("DISPUTED", False, DISPUTED),
    (NEW, True, UNKNOWN), (NEW, False, UNKNOWN),
]  # fmt: skip
"""State and flag of a record, and what it states."""
EXPECTED = [number for _, _, number in STATED]


def with_state(kind: Any) -> str:
    """Return our schema of labels with another type of states, next to null."""
    schema = json.loads(reader_schema("label.v2"))
    for each in schema["fields"]:
        if each["name"] == "state":
            each["type"][1] = kind(each["type"][1])
    return json.dumps(schema)


NEWER = with_state(lambda states: {**states, "symbols": [NEW, *states["symbols"]]})


class NewerRelease:
    """A registry with the schema of a newer release."""

    def writer_schema(self, schema_id: int) -> str:
        assert schema_id == 99
        return NEWER

    def id_for(self, subject: str, schema: str) -> int:
        raise AssertionError(subject, schema)


REGISTRY = NewerRelease()


def records() -> RawRecords:
    """Return the records of ``STATED``, as a newer release writes them."""
    codec = RecordCodec(99, NEWER)
    values = [codec.encode(label(state=state, is_fraud=fraud)) for state, fraud, _ in STATED]
    count = len(values)
    return RawRecords(
        BytesColumn.of(values), BytesColumn.nulls(count), None, np.zeros(count, np.int32),
        np.arange(count), np.zeros(count, np.int64),
    )  # fmt: skip


def of_terminals(raw: RawRecords, directory: Path) -> Any:
    decoded = open_label_decoder(REGISTRY, Plan(), directory).decode(raw.values)
    return labels_of(decoded.records, raw.partition, raw.offset).state


def of_datasets(raw: RawRecords, directory: Path) -> Any:
    reader = StatementReader(REGISTRY, Plan(), 2**62, directory)
    reader.add(raw)
    return reader.known().statements.state


def of_performance(raw: RawRecords, directory: Path) -> Any:
    return PerformanceColumns(REGISTRY, directory, Names()).labels(raw, 0)[0].state


def of_rollouts(raw: RawRecords, directory: Path) -> Any:
    return EvidenceColumns(REGISTRY, directory, lambda: manifest_of).labels(raw, 0)[0].state


READERS = [of_terminals, of_datasets, of_performance, of_rollouts]


@pytest.mark.parametrize("read", READERS)
def test_a_state_of_a_newer_release_is_unknown(read: Reader) -> None:
    assert read(records(), SCHEMAS_DIRECTORY).tolist() == EXPECTED


@pytest.mark.parametrize("read", READERS)
def test_readers_do_not_rely_on_the_decoder(read: Reader, tmp_path: Path) -> None:
    """A schema with texts for states lets the new one through."""
    shutil.copytree(SCHEMAS_DIRECTORY, tmp_path / "schemas")
    texts = tmp_path / "schemas/label.v2.avsc"
    texts.write_text(with_state(lambda _: "string"))
    assert read(records(), texts.parent).tolist() == EXPECTED


def test_without_a_state_the_flag_counts() -> None:
    flags = {"is_fraud": pa.array([True, False]), "fraud": pa.array([False, True])}
    for state in ({}, {"state": pa.nulls(2, pa.string())}):
        batch = pa.RecordBatch.from_pydict({**flags, **state})
        assert states_of(batch).tolist() == [FRAUD, GENUINE]
        assert states_of(batch, "fraud").tolist() == [GENUINE, FRAUD]


def test_every_name_is_tested() -> None:
    assert {state for state, _, _ in STATED} == {*STATE_NAMES, NEW, None}
