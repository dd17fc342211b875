"""S3 for bundles, checkpoints and transaction files: slow, failing, and truncated."""

import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from stream_scorer import file_url
from stream_scorer.errors import ModelError, StateError, UnavailableError
from stream_scorer.models.bundles.loader import load_bundle, verify_again
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.state.checkpoints.formats import Bucket
from stream_scorer.state.checkpoints.ownership import Assembly, Owner
from stream_scorer.state.stores import background_read
from stream_scorer.state.stores.file_store import FileStore
from tests.support.batch.batch_cases import run, transactions, write
from tests.support.contract.object_store import Weather, object_store
from tests.support.models.stores import Shelves

OWNER = Owner("group", "transactions")


@pytest.fixture
def weather(monkeypatch: pytest.MonkeyPatch) -> Iterator[Weather]:
    with object_store(monkeypatch) as served:
        yield served


def bucket(number: int, offset: int) -> Bucket:
    return Bucket(1, number, offset, 4, 1, 7, 60, {}, bytes(range(256)) * 16)


def put(store: FileStore, *buckets: Bucket) -> None:
    for each in buckets:
        store.write(1, each.records(OWNER))


def found(store: FileStore) -> dict[int, Bucket]:
    assembly = Assembly(OWNER, 1)
    for records in store.read(1):
        assembly.add(records)
    return assembly.buckets()


# -- checkpoints ----------------------------------------------------------------------------


def test_checkpoints_survive_a_slow_store(weather: Weather) -> None:
    store = FileStore("s3://ours/state", OWNER)
    weather.delay = 0.3
    put(store, bucket(3, 10), bucket(4, 11))
    assert found(store) == {3: bucket(3, 10), 4: bucket(4, 11)}


def test_a_failing_store_is_an_outage_without_lasting_effect(weather: Weather) -> None:
    store = FileStore("s3://ours/state", OWNER)
    put(store, bucket(3, 10))
    weather.failing = -1
    for asked in (lambda: found(store), lambda: put(store, bucket(3, 11)), store.sample):
        with pytest.raises(UnavailableError, match=r"checkpoints at s3://ours/state"):
            asked()
    weather.failing = 0
    assert found(store) == {3: bucket(3, 10)}


def test_a_store_that_never_answers_holds_up_no_loop(
    weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore("s3://ours/state", OWNER)
    put(store, bucket(3, 10))
    weather.open.clear()
    # Each step returns immediately without records; between steps the loop polls and beats.
    reading = store.read(1)
    begun = time.monotonic()
    assert [next(reading) for _ in range(20)] == [[]] * 20
    assert time.monotonic() - begun < background_read.ANSWER_SECONDS / 2
    with monkeypatch.context() as impatient:
        impatient.setattr(background_read, "ANSWER_SECONDS", 0.5)
        for asked in (lambda: found(store), store.sample):
            with pytest.raises(UnavailableError, match=r"s3://ours/state: no answer for 0 sec"):
                asked()
    weather.open.set()
    assert found(store) == {3: bucket(3, 10)}


def test_an_unanswered_request_to_a_store_has_a_time_limit(
    weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(file_url.S3_LIMITS, "read_timeout", 0.2)
    monkeypatch.setattr(fsspec.get_filesystem_class("s3"), "retries", 1)
    store = FileStore("s3://ours/state", OWNER)
    weather.open.clear()
    with pytest.raises(UnavailableError, match=r"(?i)time"):
        store.write(1, bucket(3, 10).records(OWNER))


def test_one_failure_is_tried_again(weather: Weather) -> None:
    store = FileStore("s3://ours/state", OWNER)
    put(store, bucket(3, 10))
    weather.failing = 1
    assert found(store) == {3: bucket(3, 10)}
    assert weather.failing == 0


def test_half_an_object_is_an_outage_and_never_half_a_bucket(weather: Weather) -> None:
    store = FileStore("s3://ours/state", OWNER)
    put(store, bucket(3, 10))
    weather.halved = True
    with pytest.raises(UnavailableError):
        found(store)
    weather.halved = False
    assert found(store) == {3: bucket(3, 10)}


def test_an_object_that_was_written_in_half_is_refused(weather: Weather) -> None:
    assert not weather.failing
    store = FileStore("s3://ours/state", OWNER)
    put(store, bucket(3, 10))
    files = fsspec.filesystem("s3")
    (path,) = files.find("ours/state")
    files.pipe_file(path, files.cat_file(path)[:100])
    with pytest.raises((ValueError, StateError), match="bucket 3"):
        found(store)


def test_no_credentials_is_an_outage_and_they_are_in_no_message(
    weather: Weather, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not weather.failing
    store = FileStore("s3://ours/state", OWNER)
    put(store, bucket(3, 10))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UnavailableError, match="checkpoints at s3://ours/state"):
        found(FileStore("s3://ours/state", OWNER))


# -- bundles --------------------------------------------------------------------------------


def test_a_slow_bundle_loads_and_an_outage_is_reported(weather: Weather, tmp_path: Path) -> None:
    shelves = Shelves("s3", tmp_path)
    weather.delay = 0.2
    folder = find(open_store(shelves.models), "fraud:1.0.0")
    bundle = load_bundle(folder)
    weather.delay = 0.0
    weather.failing = -1
    with pytest.raises(UnavailableError, match=r"bundles at s3://ours/models"):
        find(open_store(shelves.models), "fraud:1.0.0")
    with pytest.raises(UnavailableError, match=r"bundles at s3://ours/models"):
        verify_again(bundle)
    weather.failing = 0
    verify_again(bundle)


def test_a_truncated_bundle_file_fails_and_is_not_cached(weather: Weather, tmp_path: Path) -> None:
    shelves = Shelves("s3", tmp_path)
    folder = find(open_store(shelves.models), "fraud:1.0.0")
    weather.halved = True
    with pytest.raises((UnavailableError, ModelError)):
        load_bundle(folder)
    weather.halved = False
    assert load_bundle(folder).manifest.label == "fraud:1.0.0"


# -- files of transactions ------------------------------------------------------------------


@pytest.fixture
def near(tmp_path: Path) -> Path:
    """Transactions in a file, and the same ones in the store."""
    path = write(transactions(days=10), tmp_path / "day.parquet")
    fsspec.filesystem("s3").put_file(str(path), "ours/in/day.parquet")
    return path


def test_a_batch_job_reads_from_the_store(weather: Weather, near: Path, tmp_path: Path) -> None:
    weather.delay = 0.02
    scores = []
    for name, source in (("far", "s3://ours/in/day.parquet"), ("near", near)):
        run(source, tmp_path / f"{name}.out.parquet")
        scores.append(pq.read_table(tmp_path / f"{name}.out.parquet").column("score"))
    assert scores[0].equals(scores[1])
    assert len(scores[0]) > 300


@pytest.mark.parametrize("how", ["failing", "halved"])
def test_a_batch_job_prints_one_line_when_the_store_is_silent(
    how: str, weather: Weather, near: Path, tmp_path: Path
) -> None:
    assert near.exists()
    fsspec.filesystem("s3").invalidate_cache()
    setattr(weather, how, -1 if how == "failing" else True)
    with pytest.raises(UnavailableError, match=r"s3://ours/in/day\.parquet"):
        run("s3://ours/in/day.parquet", tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
