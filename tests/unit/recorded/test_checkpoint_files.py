"""Checkpoint files that the version before wrote restore to the rings that it had."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.core.features.compile import compile_union
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.settings import MODELS_DIRECTORY
from stream_scorer.state.checkpoints.ownership import Assembly
from stream_scorer.state.checkpoints.ring_columns import columns_of
from stream_scorer.state.stores.file_store import FileStore
from tests.recorded.checkpoint_files import Ring, recorded_files
from tests.support.state import checkpoint_process
from tests.support.state.checkpoint_process import OWNER, PARTITIONS, Process


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """Return a store with the recorded files."""
    for name, data in recorded_files().files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return FileStore(f"file://{tmp_path}", OWNER)


def rings_of(process: Process) -> Iterator[Ring]:
    for partition, dumps in process.state().items():
        for dump in dumps:
            found = columns_of(dump)
            for number, customer in enumerate(found.customers):
                own = slice(int(found.first[number]), int(found.first[number + 1]))
                yield Ring(
                    partition, customer.decode(), int(found.newest[number]),
                    found.time[own].tolist(), found.amount[own].tolist(), found.hash[own].tolist(),
                    {name: column[own].tolist() for name, column in found.fields.items()},
                )  # fmt: skip


def test_the_files_restore_to_the_rings_that_wrote_them(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plan = load_model(checkpoint_process.SETTINGS, Deployment("fraud:1.0.0"))
    manifest = json.loads((MODELS_DIRECTORY / "fraud" / "1.0.0" / "manifest.json").read_text())
    both = [manifest["features"], recorded_files().features]
    monkeypatch.setattr(
        checkpoint_process, "MODEL", replace(model, features=compile_union(both, plan)[0])
    )
    process = Process(store, dict(recorded_files().committed))
    # Every bucket is as of the committed offset: nothing is replayed.
    assert process.replayed == dict.fromkeys(range(PARTITIONS), 0)
    rings = list(rings_of(process))
    assert rings == recorded_files().rings
    assert process.watermarks() == recorded_files().watermarks
    assert {ring.partition for ring in rings} == set(range(PARTITIONS))
    assert sum(len(ring.time) for ring in rings) > 500
    assert all(len(ring.fields) == 2 for ring in rings)


def test_written_again_they_are_the_same_files(store: FileStore, tmp_path: Path) -> None:
    other = FileStore(f"file://{tmp_path}/again", OWNER)
    for partition in range(PARTITIONS):
        assembly = Assembly(OWNER, partition)
        for records in store.read(partition):
            assembly.add(records)
        for bucket in assembly.buckets().values():
            other.write(partition, bucket.records(OWNER))
    again = tmp_path / "again"
    written = {str(p.relative_to(again)): p.read_bytes() for p in again.rglob("*") if p.is_file()}
    assert written == recorded_files().files
    assert len(written) == PARTITIONS * 1_024
