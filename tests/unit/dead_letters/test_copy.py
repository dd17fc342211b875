"""Whatever the broker does, each dead letter is copied once, together with its progress."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.dead_letters.copy import CopyingStopped, LetterCopier
from stream_scorer.dead_letters.format import DeadLetter
from stream_scorer.dead_letters.progress import LetterProgress
from stream_scorer.errors import (
    FencedError,
    OffsetsError,
    TransactionError,
    UnavailableError,
)
from stream_scorer.ports import BytesColumn, Headers
from stream_scorer.settings import Kafka
from tests.support.effort import examples
from tests.support.kafka.fake_cluster import ABORT, FATAL, FENCED, RETRIABLE, failure

TOPIC = "transactions.dlq"
TOO_LARGE = failure(KafkaError.MSG_SIZE_TOO_LARGE)
TOO_LARGE_ABORT = failure(KafkaError.MSG_SIZE_TOO_LARGE, abort=True)


class Broker:
    """Applies a transaction when it is committed, and fails as a test scripts it.

    Attributes:
        raises: The errors of the next calls of a method; None lets a call succeed.
        applies: Whether a commit that raises has been applied nevertheless.
    """

    topic = TOPIC

    def __init__(self) -> None:
        self.copied: list[tuple[int, bytes | None, Headers]] = []
        self.offsets: dict[int, tuple[int, bytes]] = {}
        self.raises: dict[str, list[KafkaException | None]] = {}
        self.applies: list[bool] = []
        self.births = 0
        self.aborts = 0
        self.stuck = 0
        self.largest = 1_000
        self.told: set[str] = set()

    def fail(self, method: str) -> None:
        if script := self.raises.get(method):
            error = script.pop(0)
            if error is not None:
                raise error

    # -- as the group's consumer

    def noted(self, numbers: Sequence[int], _: float) -> dict[int, tuple[int, bytes]]:
        return {p: self.offsets[p] for p in numbers if p in self.offsets}

    def group_metadata(self) -> object:
        return object()


class Client:
    """One producer of the broker."""

    def __init__(self, broker: Broker, options: dict[str, Any]) -> None:
        self.options = options
        self._broker = broker
        self._records: list[tuple[int, bytes | None, Headers]] = []
        self._offsets: dict[int, tuple[int, bytes]] = {}

    def init_transactions(self, _: float) -> None:
        self._broker.births += 1

    def begin_transaction(self) -> None:
        self._records, self._offsets, self._refused = [], {}, False
        self._broker.fail("begin")

    def produce(
        self, topic: str, values: BytesColumn, keys: BytesColumn, partition: Any, headers: Any,
        timestamps: Any = None,
    ) -> None:  # fmt: skip
        assert topic == "transactions"
        assert timestamps is None
        assert len(keys) == len(values)
        self._records += zip(partition.tolist(), values, headers, strict=True)
        self._broker.fail("produce")
        large = any(len(value or b"") > self._broker.largest for value in values)
        self._refused = large and "broker" in self._broker.told
        if large and not self._broker.told:
            raise TOO_LARGE

    def send_offsets_to_transaction(
        self, topic: str, offsets: Mapping[int, int], _: Any, __: float, notes: Any = None
    ) -> None:
        assert topic == TOPIC
        self._offsets |= {p: (offset, notes[p]) for p, offset in offsets.items()}
        self._broker.fail("offsets")
        if self._refused:
            raise TOO_LARGE_ABORT

    def commit_transaction(self, _: float) -> None:
        try:
            self._broker.fail("commit")
        except KafkaException as error:
            uncertain = error.args[0].retriable()
            if uncertain and self._broker.applies and self._broker.applies.pop(0):
                self._apply()
            raise
        self._apply()

    def _apply(self) -> None:
        self._broker.copied += self._records
        self._broker.offsets |= self._offsets

    def abort_transaction(self, _: float) -> None:
        self._broker.aborts += 1
        self._broker.fail("abort")

    def flush(self, _: float) -> bool:
        if self._broker.stuck:
            self._broker.stuck -= 1
            return False
        return True

    def poll(self, _: float) -> None:
        pass

    def purge(self) -> None:
        pass

    def close(self) -> None:
        pass


def copier_of(broker: Broker, stop: Callable[[], bool] = lambda: False) -> LetterCopier:
    there: Any = broker
    return LetterCopier(
        Kafka(bootstrap="b:1"), "g", there, lambda options: Client(broker, options), stop
    )


def letter(number: int, size: int = 1) -> DeadLetter:
    return DeadLetter(
        partition=number % 2, offset=number, timestamp=1, value=b"%d" % number * size, key=None,
        headers=None, reason="EMPTY", detail="", source_topic="transactions",
        source_partition=number % 3, source_offset=number, source_timestamp=1, instance="0",
    )  # fmt: skip


def copied_in_batches(broker: Broker, batches: int, waits: Mapping[str, int]) -> None:
    """Copy batches of three letters; the progress of some reasons may stay constant."""
    copier = copier_of(broker)
    before: dict[int, LetterProgress] = {}
    for number in range(batches):
        end = 3 * (number + 1)
        after = {p: LetterProgress({"*": end, **waits}) for p in (0, 1)}
        copier.copy([letter(end - 3 + n) for n in range(3)], before, after)
        before |= after
    copier.close()


RETRIED = st.sampled_from([None, None, None, RETRIABLE, ABORT, FATAL])
scripts = st.fixed_dictionaries(
    {
        "begin": st.lists(st.sampled_from([None, None, RETRIABLE]), max_size=8),
        "produce": st.lists(RETRIED, max_size=8),
        "offsets": st.lists(RETRIED, max_size=8),
        "commit": st.lists(RETRIED, max_size=8),
        "abort": st.lists(st.sampled_from([None, RETRIABLE]), max_size=8),
    }
)


@settings(deadline=None, max_examples=examples(50))
@given(scripts, st.lists(st.booleans(), max_size=8), st.sampled_from([{}, {"DUPLICATE": 0}]))
def test_each_is_copied_once_in_order(
    script: dict[str, list[KafkaException | None]], applies: list[bool], waits: dict[str, int]
) -> None:
    broker = Broker()
    broker.raises, broker.applies = script, applies
    try:
        copied_in_batches(broker, 4, waits)
        done = 12
    except TransactionError:
        # Five aborts in a row, none by the network: only complete batches are copied.
        done = len(broker.copied)
        assert done % 3 == 0
    assert broker.copied == [
        (n % 3, b"%d" % n, [("replayed-from", f"{TOPIC}:{n % 2}:{n}".encode())])
        for n in range(done)
    ]
    ends = {LetterProgress.read(*at).of("EMPTY") for at in broker.offsets.values()}
    assert ends == ({done} if done else set())


@pytest.mark.parametrize("happened", [True, False])
def test_the_note_settles_a_lost_answer_at_an_unmoved_offset(happened: bool) -> None:  # noqa: FBT001 a parameter of the test
    broker = Broker()
    broker.raises, broker.applies = {"commit": [None, RETRIABLE]}, [happened]
    copied_in_batches(broker, 2, {"DUPLICATE": 0})
    assert [value for _, value, _ in broker.copied] == [b"%d" % n for n in range(6)]
    assert broker.offsets[0] == (0, b'{"*":6,"DUPLICATE":0}')
    assert broker.births == 2


def test_another_process_that_commits_for_the_group_is_reported() -> None:
    broker = Broker()
    broker.raises = {"commit": [RETRIABLE]}
    broker.offsets = {0: (17, b"")}
    with pytest.raises(OffsetsError, match="the answer to a commit was lost"):
        copied_in_batches(broker, 1, {})
    assert broker.copied == []


def test_a_fenced_copier_leaves() -> None:
    broker = Broker()
    broker.raises = {"commit": [None, FENCED]}
    with pytest.raises(FencedError):
        copied_in_batches(broker, 2, {})
    assert len(broker.copied) == 3


@pytest.mark.parametrize(("asked", "aborts"), [([True], 0), ([False, True], 1)])
def test_a_stopped_copier_commits_nothing_more(asked: list[bool], aborts: int) -> None:
    broker, answers = Broker(), iter([False, False, *asked])
    copier = copier_of(broker, lambda: next(answers))
    first = {0: LetterProgress.at(3), 1: LetterProgress.at(3)}
    copier.copy([letter(0)], {}, first)
    with pytest.raises(CopyingStopped):
        copier.copy([letter(1)], first, {0: LetterProgress.at(6), 1: LetterProgress.at(6)})
    copier.close()
    assert [value for _, value, _ in broker.copied] == [b"0"]
    assert broker.offsets == {0: (3, b""), 1: (3, b"")}
    assert broker.aborts == aborts


def test_a_copier_whose_records_are_not_sent_asks_why() -> None:
    broker = Broker()
    broker.stuck = 1
    refused = failure(KafkaError.MSG_SIZE_TOO_LARGE, abort=True)
    broker.raises = {"offsets": [None, refused, None], "commit": [None]}
    copied_in_batches(broker, 1, {})
    assert broker.raises == {"offsets": [], "commit": []}
    # The batch was repeated to find out whether one record is the cause.
    assert (broker.aborts, len(broker.copied)) == (2, 3)


def test_a_commit_that_never_happens_is_aborted_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_scorer.dead_letters.copy._PATIENCE_SECONDS", 0.0)
    broker = Broker()
    broker.raises = {"commit": [RETRIABLE] * 3}
    copier = copier_of(broker)
    with pytest.raises(UnavailableError, match="nothing could be copied for 0 s"):
        copier.copy([letter(0)], {}, {0: LetterProgress.at(3)})
    assert broker.copied == []


def test_asked_to_stop_it_does_not_try_again() -> None:
    broker, answers = Broker(), iter([False, False, True])
    broker.raises = {"commit": [RETRIABLE]}
    copier = copier_of(broker, lambda: next(answers))
    with pytest.raises(CopyingStopped):
        copier.copy([letter(0)], {}, {0: LetterProgress.at(3)})
    assert broker.copied == []


def test_the_largest_of_what_is_refused_is_named() -> None:
    broker = Broker()
    broker.raises = {"commit": [failure(KafkaError.MSG_SIZE_TOO_LARGE, abort=True)] * 5}
    copier = copier_of(broker)
    letters = [letter(1), letter(2, 900), letter(3)]
    with pytest.raises(TransactionError) as raised:
        copier.copy(letters, {}, {0: LetterProgress.at(4), 1: LetterProgress.at(4)})
    assert raised.value.what.endswith(
        "the largest of 3 dead letters is transactions.dlq:0:2 with 964 bytes"
    )
    assert broker.copied == []


@pytest.mark.parametrize("told", [set(), {"broker"}])
@pytest.mark.parametrize("large", [{0}, {4}, {1, 2, 3}, set(range(9)), {0, 2, 4, 6, 8}])
def test_what_is_refused_for_its_size_is_left_out_alone(large: set[int], told: set[str]) -> None:
    """Either the client refuses a record when it is sent, or the broker later."""
    broker = Broker()
    broker.told = told
    copier = copier_of(broker)
    letters = [letter(number, 2_000 if number in large else 1) for number in range(9)]
    after = {0: LetterProgress.at(9), 1: LetterProgress.at(8)}
    assert copier.copy(letters, {}, after) == [letters[number] for number in sorted(large)]
    kept = [number for number in range(9) if number not in large]
    assert [value for _, value, _ in broker.copied] == [b"%d" % number for number in kept]
    assert broker.offsets == {0: (9, b""), 1: (8, b"")}


def test_all_calls_for_a_topic_share_an_id_and_small_batches() -> None:
    made: list[dict[str, Any]] = []

    def make(options: dict[str, Any]) -> Client:
        made.append(options)
        return Client(Broker(), options)

    there: Any = Broker()
    LetterCopier(Kafka(bootstrap="b:1", group="x", instance="y"), "g", there, make)
    ((options),) = made
    assert (options["transactional.id"], options["batch.size"]) == (f"g:@{TOPIC}", 16_384)
