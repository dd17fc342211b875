"""One contract for every checkpoint store: in memory, files, objects, the compacted topic."""

import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.topics.offsets import bounds
from stream_scorer.ports import CheckpointStore
from stream_scorer.settings import Kafka
from stream_scorer.state.checkpoints import formats
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.stores.file_store import FileStore
from stream_scorer.state.stores.topic_store import TopicStore
from tests.support.contract.object_store import object_store
from tests.support.faults.process import wait_until
from tests.support.state.file_systems import GOES_ON, HANGS
from tests.support.state.stores import MemoryStore

OWNER = Owner("a group/of ours", "transactions")
OTHER = Owner("another", "transactions")


@pytest.fixture(
    params=["memory", "files", "objects", "s3", pytest.param("topic", marks=pytest.mark.kafka)]
)
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CheckpointStore]:
    if request.param == "s3":
        with object_store(monkeypatch):
            yield FileStore("s3://ours/a b", OWNER)
        return
    yield _store(request, tmp_path)


def _store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "files":
        return FileStore(f"file://{tmp_path}/a b", OWNER)
    if request.param == "objects":
        return FileStore(f"objects://{tmp_path}", OWNER)
    make: Callable[..., Kafka] = request.getfixturevalue("kafka_settings")
    create: Callable[..., Kafka] = request.getfixturevalue("kafka_topics")
    return TopicStore(create(make()), OWNER)


def bucket(number: int, offset: int, payload: bytes = b"rings", partition: int = 1) -> Bucket:
    return Bucket(partition, number, offset, 4, 1, 7, 60, {}, payload)


def put(store: CheckpointStore, *buckets: Bucket) -> None:
    for each in buckets:
        store.write(each.partition, each.records(OWNER))
    if isinstance(store, TopicStore):
        kafka, topic = store._kafka, store.topic
        # A commit returns before its marker is in the partition. A sample does not wait for it.
        wait_until(
            lambda: bounds(kafka, topic) == bounds(kafka, topic, stable=False),
            "the transaction's markers are written",
        )


def found(store: CheckpointStore, partition: int = 1) -> dict[int, Bucket]:
    assembly = Assembly(OWNER, partition)
    for records in store.read(partition):
        assembly.add(records)
    return assembly.buckets()


def test_an_empty_store_has_nothing(store: CheckpointStore) -> None:
    assert found(store) == {}
    assert list(store.sample()) == []


def test_what_was_put_is_found_by_partition(store: CheckpointStore) -> None:
    put(store, bucket(3, 10), bucket(4, 11, b""), bucket(3, 12, partition=2))
    assert found(store) == {3: bucket(3, 10), 4: bucket(4, 11, b"")}
    assert found(store, 2) == {3: bucket(3, 12, partition=2)}
    assert found(store, 0) == {}


def test_the_newest_of_a_bucket_is_found(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "PART_BYTES", 4)
    put(store, bucket(3, 10, bytes(range(15))), bucket(3, 20, bytes(range(6))))
    assert found(store) == {3: bucket(3, 20, bytes(range(6)))}


def test_a_record_that_was_taken_away_is_gone(store: CheckpointStore) -> None:
    put(store, bucket(3, 10), bucket(4, 11))
    store.write(1, [(OWNER.key(1, 3, 0), None)])
    assert found(store) == {4: bucket(4, 11)}


def test_a_sample_has_one_record_of_each_partition(store: CheckpointStore) -> None:
    put(store, bucket(3, 10), bucket(4, 11), bucket(900, 12, partition=2))
    places = [OWNER.place(key or b"") for key, _ in store.sample()]
    assert sorted(place[0] for place in places if place) == [1, 2]


@pytest.mark.parametrize("kept", [0, 3, 70])
def test_a_cut_off_file_is_refused(tmp_path: Path, kept: int) -> None:
    store = FileStore(f"file://{tmp_path}", OWNER)
    put(store, bucket(3, 10), bucket(4, 11, partition=2))
    (file,) = [path for path in tmp_path.rglob("0003") if path.is_file()]
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="bucket 3: the file is"):
        found(store)
    # The sample skips the file, and it can be removed.
    assert [OWNER.place(key or b"") for key, _ in store.sample()] == [(2, 4, 0)]
    store.clear(1)
    assert found(store) == {}
    assert found(store, 2) == {4: bucket(4, 11, partition=2)}


@pytest.mark.parametrize("number", formats.FORMATS)
def test_a_bucket_file_is_records_with_lengths_and_a_checksum(number: int, tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}", OWNER)
    head = b"SCKP" + number.to_bytes(2, "little")
    values = head + b"1", head + b"22"
    store.write(1, [(OWNER.key(1, 3, part), value) for part, value in enumerate(values)])
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.relative_to(tmp_path) == Path("a%20group%2Fof%20ours/transactions/1/0003")
    body = b"\x07\0\0\0" + values[0] + b"\x08\0\0\0" + values[1]
    checksum = b"\x08\0\0\0SCRC" + zlib.crc32(body).to_bytes(4, "little")
    assert file.read_bytes() == body + (checksum if number == formats.PLAIN else b"")


def test_a_takeover_removes_unfinished_files_of_the_last_owner(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}", OWNER)
    put(store, bucket(3, 10))
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    left = file.with_name("0004.aabbccdd.unfinished")
    left.write_bytes(b"half")
    put(store, bucket(3, 11))
    assert left.exists()
    assert found(store) == {3: bucket(3, 11)}
    put(store, bucket(3, 12))
    assert not left.exists()
    assert found(store) == {3: bucket(3, 12)}


def test_concurrent_puts_of_a_bucket_do_not_mix_bytes(tmp_path: Path) -> None:
    late, prompt = (FileStore(f"hangingfile://{tmp_path}", OWNER) for _ in range(2))
    GOES_ON.set()
    put(late, bucket(3, 10))
    put(prompt, bucket(3, 11))
    GOES_ON.clear()
    HANGS.clear()
    hanging = bucket(3, 12, b"c" * 1_000)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(put, late, hanging)
        try:
            assert HANGS.wait(30)
            put(prompt, bucket(3, 13, b"d" * 50))
            assert found(prompt) == {3: bucket(3, 13, b"d" * 50)}
        finally:
            GOES_ON.set()
        done.result(30)
    assert found(prompt) == {3: hanging}


def test_a_directory_that_was_removed_is_made_again(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}/a", OWNER)
    put(store, bucket(3, 10))
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(UnavailableError):
        put(store, bucket(3, 11))
    put(store, bucket(3, 12))
    assert found(store) == {3: bucket(3, 12)}


def test_an_unfinished_file_is_not_seen(tmp_path: Path) -> None:
    store = FileStore(f"file://{tmp_path}", OWNER)
    put(store, bucket(3, 10))
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    file.with_name("0004.unfinished").write_bytes(b"half")
    assert found(store) == {3: bucket(3, 10)}


@pytest.fixture(params=["file", "objects"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    return FileStore(f"{request.param}://{tmp_path}/a b", OWNER)


def stage(store: FileStore, *buckets: Bucket) -> None:
    store.stage((each.partition, each.records(OWNER)) for each in buckets)


def test_a_stage_becomes_visible_atomically(files: FileStore) -> None:
    put(files, bucket(3, 10), bucket(4, 11))
    stage(files, bucket(3, 20), bucket(5, 21), bucket(3, 22, partition=2))
    assert found(files) == {3: bucket(3, 10), 4: bucket(4, 11)}
    assert found(files, 2) == {}
    files.place(b"note")
    assert files.placing() is None
    assert found(files) == {3: bucket(3, 20), 4: bucket(4, 11), 5: bucket(5, 21)}
    assert found(files, 2) == {3: bucket(3, 22, partition=2)}


def test_an_interrupted_place_refuses_reads_until_finished(
    files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(files, bucket(3, 10))
    stage(files, bucket(3, 20), bucket(3, 22, partition=2))
    with monkeypatch.context() as cut:
        cut.setattr(files, "finish", lambda: None)
        files.place(b"note")
    for read in (lambda: found(files), files.sample):
        with pytest.raises(StateError, match="`state repartition` was cut off"):
            read()
    assert files.placing() == b"note"
    files.finish()
    assert found(files) == {3: bucket(3, 20)}
    assert found(files, 2) == {3: bucket(3, 22, partition=2)}


def test_a_stage_contains_nothing_of_an_earlier_stage(files: FileStore) -> None:
    stage(files, bucket(3, 20))
    stage(files, bucket(4, 21))
    files.place(b"")
    assert found(files) == {4: bucket(4, 21)}
    stage(files, bucket(5, 22))
    files.discard()
    files.discard()
    assert found(files) == {4: bucket(4, 21)}


def test_a_place_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    store = FileStore(f"file://{tmp_path}/file", OWNER)
    with pytest.raises(UnavailableError, match="file"):
        put(store, bucket(3, 10))


@pytest.mark.kafka
def test_groups_share_a_topic(
    kafka_settings: Callable[..., Kafka],
    kafka_topics: Callable[..., Kafka],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka = kafka_topics(kafka_settings())
    ours, theirs = TopicStore(kafka, OWNER), TopicStore(kafka, OTHER)
    put(ours, bucket(3, 10))
    theirs.write(1, bucket(3, 99).records(OTHER))
    assert found(ours) == {3: bucket(3, 10)}
    assert len(list(theirs.sample())) == 1
    # An old record may be of a layout that has since been replaced, so it is not sampled.
    monkeypatch.setattr("stream_scorer.state.stores.topic_store._LOOK_BACK", 1)
    put(ours, bucket(4, 11), bucket(5, 12), bucket(3, 30))
    theirs.write(1, bucket(7, 99).records(OTHER))
    ((key, _),) = ours.sample()
    assert OWNER.place(key or b"") == (1, 3, 0)
