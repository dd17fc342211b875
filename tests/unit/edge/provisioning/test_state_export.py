"""Histories from the scorers' checkpoint: a device continues with them as the stream does."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stream_scorer.core.decision.decide_batch import decide_alone
from stream_scorer.core.decision.observe import PartitionRings
from stream_scorer.core.events.batch import EventBatch, Flag
from stream_scorer.core.events.strings import hashes_of
from stream_scorer.core.features.engines import RINGS_ENGINE
from stream_scorer.core.rings.buckets import BUCKETS
from stream_scorer.edge.claims.decision_record import decode_decision
from stream_scorer.edge.device.decide import RecordDecider
from stream_scorer.edge.device.history import DeviceHistory
from stream_scorer.edge.export.state import CheckpointOf, read_state
from stream_scorer.edge.files.seed import StateSeed, TerminalRows
from stream_scorer.errors import EdgeError, StateError
from stream_scorer.security.sealing import generate_sealing, seal
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Owner
from stream_scorer.state.stores.file_store import FileStore
from tests.support.device.device_world import (
    DEVICE,
    NOW,
    DeviceWorld,
    device_world,
    make_release,
    record,
)

CUSTOMERS = 40
PARTITIONS = 4
EVENTS = 400


@pytest.fixture(scope="session")
def release_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def world(tmp_path: Path, release_folder: Path) -> DeviceWorld:
    return device_world(tmp_path / "device", release_folder)


class Stream:
    """The stream's rings in four partitions, and their checkpoint in files."""

    def __init__(self, world: DeviceWorld, folder: Path) -> None:
        self._world = world
        release = world.release
        self._reader = RecordDecider(release, DeviceHistory(release.model.features))
        self.rings = PartitionRings(release.model.features)
        self.owner = Owner("scorers", "transactions")
        self.store = FileStore(folder.as_uri(), self.owner)

    def decide(self, first: int, end: int) -> list[bytes]:
        """Return the features of events."""
        release = self._world.release
        read = [
            self._reader.read(record(n, CUSTOMERS).value, self._world.wall()).events
            for n in range(first, end)
        ]
        joined = pa.Table.from_batches([each.records for each in read]).combine_chunks()
        count = end - first
        partition = (np.arange(first, end) % CUSTOMERS % PARTITIONS).astype(np.int32)
        batch = EventBatch(
            joined.to_batches()[0], partition, np.arange(first, end),
            np.full(count, self._world.wall()),
        )  # fmt: skip
        made = decide_alone(batch, self.rings, release.model, release.plan)
        self.rings.release(made.journals)
        return [row.tobytes() for row in made.decided[0].decisions.features]

    def checkpoint(self, **changes: Any) -> CheckpointOf:
        """Write all buckets."""
        kept = self._world.release.model.features.retention
        for partition in range(PARTITIONS):
            rings = self.rings.of(partition)
            for number in range(BUCKETS):
                payload = rings.dump(number)
                if not payload:
                    continue
                fields: dict[str, Any] = {
                    "horizon": kept.horizon_ms, "since": {}, "payload": payload, "cap": kept.cap,
                    "unit": kept.unit,
                } | changes  # fmt: skip
                bucket = Bucket(
                    partition, number, 1_000 + number, PARTITIONS, RINGS_ENGINE, rings.watermark,
                    **fields,
                )  # fmt: skip
                self.store.write(partition, bucket.records(self.owner))
        return CheckpointOf(self.store, self.owner, tuple(range(PARTITIONS)))


def test_a_device_continues_with_the_streams_bits(world: DeviceWorld, tmp_path: Path) -> None:
    stream = Stream(world, tmp_path / "state")
    stream.decide(0, EVENTS)
    chosen = [f"customer-{n}" for n in range(0, CUSTOMERS, 2)]
    features = world.release.model.features
    found = read_state(
        stream.checkpoint(), DEVICE, [*chosen, "customer-new"], features, world.wall()
    )
    assert found.cold == ("customer-new",)
    assert found.events == EVENTS // 2
    assert found.newest == NOW + (EVENTS - 2) * 60_000
    assert set(found.offsets) == {0, 2}
    assert found.seed.warm.tolist() == sorted(hashes_of(pa.array(chosen)).tolist())
    # Through the bytes that go to the device.
    key = generate_sealing(tmp_path / "sealing.key")
    purpose = StateSeed.purpose(DEVICE)
    sealed = seal(found.seed.packed(), key.public, purpose)
    seed = StateSeed.unpacked(key.open(sealed, purpose))
    wanted = stream.decide(EVENTS, EVENTS + CUSTOMERS)
    state = world.state(seed=seed)
    with world.scorer(state) as scorer:
        answers = [scorer.decide(record(n, CUSTOMERS)) for n in range(EVENTS, EVENTS + CUSTOMERS)]
    state = world.state()
    rows = [decode_decision(each.row.decision).features for each in state.outbox.first(99)]
    state.close()
    assert rows[::2] == wanted[::2]
    # The others have a history that the device does not know.
    assert [each.flags for each in answers] == [0, Flag.DEGRADED] * (CUSTOMERS // 2)


def test_state_of_another_device_or_release_is_refused(world: DeviceWorld, tmp_path: Path) -> None:
    stream = Stream(world, tmp_path / "state")
    stream.decide(0, 50)
    features = world.release.model.features
    other = read_state(stream.checkpoint(), "till-18", ["customer-1"], features, world.wall()).seed
    with pytest.raises(EdgeError, match="for device 'till-18'"):
        world.state(seed=other)
    with pytest.raises(EdgeError, match="amounts are in USD/2"):
        read_state(stream.checkpoint(unit="USD/2"), DEVICE, ["customer-1"], features, world.wall())


def test_a_damaged_bucket_is_named(world: DeviceWorld, tmp_path: Path) -> None:
    stream = Stream(world, tmp_path / "state")
    stream.decide(0, 50)
    features = world.release.model.features
    damaged = stream.checkpoint(payload=b"no payload")
    with pytest.raises(StateError, match="checkpoint of scorers, partition 1"):
        read_state(damaged, DEVICE, ["customer-1"], features, world.wall())


def test_an_incomplete_checkpoint_leaves_every_customer_cold(
    world: DeviceWorld, tmp_path: Path
) -> None:
    stream = Stream(world, tmp_path / "state")
    stream.decide(0, 50)
    checkpoint = stream.checkpoint(since={"input": world.wall() - 1_000})
    features = world.release.model.features
    seed = read_state(checkpoint, DEVICE, ["customer-1"], features, world.wall()).seed
    assert not len(seed.warm)
    with world.scorer(world.state(seed=seed)) as scorer:
        assert scorer.decide(record(101)).flags == Flag.DEGRADED


def test_damaged_files_of_a_provisioning_are_refused() -> None:
    rows = TerminalRows(
        5, 1, np.array([7, 9], np.uint64), np.array([2, 3]), np.array([0, 1], np.uint8)
    )
    packed = rows.packed()
    again = TerminalRows.unpacked(packed)
    assert (again.watermark, again.edge, again.time.tolist()) == (5, 1, [2, 3])
    assert again.table().watermark == 5
    head = b'{"format":1,"rows":1e999,"device":"d","buckets":[],"rings":[0,0,0,"EUR"],"warm":"",'
    endless = head + b'"exported_at":1e999}\n', b"[" * 100_000 + b"\n"
    cut = b"", b"{}\n", packed[:-1], packed + b"x", packed[:-1] + b"\x07", b"\xff" * 40
    for wrong in (*cut, *endless):
        with pytest.raises(EdgeError):
            TerminalRows.unpacked(wrong)
        with pytest.raises(EdgeError):
            StateSeed.unpacked(wrong)
