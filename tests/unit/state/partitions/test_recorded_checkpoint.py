"""The previous version's checkpoint restores to the state of a replay, and is continued."""

from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.codec.records.codecs import open_codecs
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.ports import CheckpointStore
from stream_scorer.state.checkpoints.ownership import Assembly
from stream_scorer.state.stores.file_store import FileStore
from tests.recorded.format1 import recorded
from tests.support.faults.reference_run import PARTITIONS, transactions
from tests.support.state import checkpoint_process, file_systems
from tests.support.state.checkpoint_process import OWNER, Process
from tests.support.state.stores import MemoryStore


@pytest.fixture(autouse=True)
def input_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process run the recording's model over its input."""
    found = recorded()
    values: dict[tuple[int, int], bytes | None] = {}
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for record in transactions(found.days, found.customers):
        values[record.partition, ends[record.partition]] = record.value
        ends[record.partition] += 1
    model, plan = load_model(checkpoint_process.SETTINGS, Deployment("fraud:1.0.0"))
    codecs = open_codecs(checkpoint_process.SETTINGS, checkpoint_process.FILES)
    there = {"PARTITIONS": PARTITIONS, "VALUES": values, "MODEL": model, "PLAN": plan}
    for name, each in (there | {"CODECS": codecs, "LENGTH": min(ends.values())}).items():
        monkeypatch.setattr(checkpoint_process, name, each)


def filled(store: CheckpointStore) -> CheckpointStore:
    """Put the recording into a store."""
    for partition in range(PARTITIONS):
        store.write(partition, recorded().records(OWNER, partition))
    return store


def formats(store: CheckpointStore) -> set[int]:
    """Return the formats of the buckets in a store."""
    found = set()
    for partition in range(PARTITIONS):
        assembly = Assembly(OWNER, partition)
        for records in store.read(partition):
            assembly.add(records)
        found |= {bucket.format for bucket in assembly.buckets().values()}
    return found


def test_the_recording_is_of_format_1_in_the_middle_of_a_cycle() -> None:
    assert {value[:6] for value in recorded().values.values()} == {b"SCKP\x01\x00"}
    assert formats(filled(MemoryStore())) == {1}
    assert len(recorded().values) == PARTITIONS * 1024


@pytest.mark.parametrize("where", ["memory", "files", "objects"])
def test_it_restores_to_the_state_of_a_replay(where: str, tmp_path: Path) -> None:
    protocol = file_systems.Objects.protocol if where == "objects" else "file"
    store = MemoryStore() if where == "memory" else FileStore(f"{protocol}://{tmp_path}", OWNER)
    committed = recorded().committed
    restored = Process(filled(store), dict(committed))
    replayed = Process(MemoryStore(), dict(committed))
    assert replayed.replayed == committed
    assert all(0 < restored.replayed[p] < committed[p] for p in committed)
    assert restored.state() == replayed.state()
    assert restored.watermarks() == replayed.watermarks()
    assert sum(map(bool, restored.state()[0])) > 10


def test_it_continues_in_format_2_bucket_by_bucket() -> None:
    store, committed = filled(MemoryStore()), dict(recorded().committed)
    process = Process(store, dict(committed), bytes_per_event=10_000)
    for _ in range(3):
        batch = process.compute((5,) * PARTITIONS)
        assert batch is not None
        process.commit(batch)
    assert formats(store) == {1, 2}
    mixed = Process(store, dict(process.committed))
    replayed = Process(MemoryStore(), dict(process.committed))
    assert mixed.state() == replayed.state()
    assert mixed.watermarks() == replayed.watermarks()


def test_written_again_it_is_the_same_bytes() -> None:
    """So the version that wrote it can read a checkpoint after a downgrade."""
    for partition in range(PARTITIONS):
        assembly = Assembly(OWNER, partition)
        records = recorded().records(OWNER, partition)
        assembly.add(records)
        buckets = assembly.buckets()
        assert [r for number in sorted(buckets) for r in buckets[number].records(OWNER)] == records
        upgraded = [replace(bucket, format=2) for bucket in buckets.values()]
        assert {value[4] for each in upgraded for _, value in each.records(OWNER)} == {2}
