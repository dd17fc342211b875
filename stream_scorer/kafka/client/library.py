"""librdkafka's C API, from the library that confluent-kafka contains and has loaded.

confluent-kafka makes Python objects of every record while it holds the GIL. That costs more than
all other work of the scorer on a record (docs/adr/0006-records-as-columns.md). So the hot path
calls the library itself. It uses only the public, stable API, and raises confluent-kafka's
exceptions.
"""

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_size_t
from ctypes import c_ssize_t as ssize
from ctypes import c_void_p as pointer
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.client.c_calls import ignored_report
from stream_scorer.readings.scraped import StatisticsSlot

CONSUMER: Final = 1
PRODUCER: Final = 0
ASSIGNED: Final = -175
NO_OFFSET: Final = -1001
FATAL: Final = -150
_OLDEST: Final = 0x02000000
_NO_CONSUMER_CLOSE: Final = 8
_TEXT_BYTES: Final = 512

REBALANCED = CFUNCTYPE(None, pointer, c_int, pointer, pointer)
"""(client, ASSIGNED or otherwise revoked, partition list, opaque)."""
FAILED = CFUNCTYPE(None, pointer, c_int, c_char_p, pointer)
"""(client, error code, reason, opaque)."""

REPORTED = CFUNCTYPE(c_int, pointer, pointer, c_size_t, pointer)
"""(client, JSON, its length, opaque); 0: the library frees the JSON."""


class _TopicPartition(Structure):
    _fields_ = (
        ("topic", c_char_p), ("partition", c_int32), ("offset", c_int64), ("metadata", pointer),
        ("metadata_size", c_size_t), ("opaque", pointer), ("err", c_int), ("private", pointer),
    )  # fmt: skip


class _TopicPartitionList(Structure):
    _fields_ = (("count", c_int), ("size", c_int), ("elements", POINTER(_TopicPartition)))


class _Topic(Structure):
    _fields_ = (
        ("topic", c_char_p), ("partition_count", c_int), ("partitions", pointer), ("err", c_int),
    )  # fmt: skip


class _Metadata(Structure):
    _fields_ = (
        ("broker_count", c_int), ("brokers", pointer), ("topic_count", c_int),
        ("topics", POINTER(_Topic)),
    )  # fmt: skip


PLACES = POINTER(_TopicPartitionList)
"""The library's list of partitions."""
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "abort_transaction": (pointer, (pointer, c_int)),
    "assign": (c_int, (pointer, PLACES)),
    "assignment_lost": (c_int, (pointer,)),
    "begin_transaction": (pointer, (pointer,)),
    "commit_transaction": (pointer, (pointer, c_int)),
    "committed": (c_int, (pointer, PLACES, c_int)),
    "conf_destroy": (None, (pointer,)),
    "conf_new": (pointer, ()),
    "conf_set": (c_int, (pointer, c_char_p, c_char_p, c_char_p, c_size_t)),
    "conf_set_dr_msg_cb": (None, (pointer, pointer)),
    "conf_set_error_cb": (None, (pointer, FAILED)),
    "conf_set_log_cb": (None, (pointer, pointer)),
    "conf_set_rebalance_cb": (None, (pointer, REBALANCED)),
    "conf_set_stats_cb": (None, (pointer, REPORTED)),
    "consume_batch_queue": (ssize, (pointer, c_int, pointer, c_size_t)),
    "consumer_close": (c_int, (pointer,)),
    "consumer_group_metadata": (pointer, (pointer,)),
    "consumer_group_metadata_destroy": (None, (pointer,)),
    "consumer_group_metadata_generation_id": (c_int32, (pointer,)),
    "consumer_group_metadata_member_id": (c_char_p, (pointer,)),
    "consumer_group_metadata_new_with_genid": (pointer, (c_char_p, c_int32, c_char_p, c_char_p)),
    "default_topic_conf_dup": (pointer, (pointer,)),
    "destroy_flags": (None, (pointer, c_int)),
    "error_code": (c_int, (pointer,)),
    "error_destroy": (None, (pointer,)),
    "error_is_fatal": (c_int, (pointer,)),
    "error_is_retriable": (c_int, (pointer,)),
    "error_string": (c_char_p, (pointer,)),
    "error_txn_requires_abort": (c_int, (pointer,)),
    "fatal_error": (c_int, (pointer, c_char_p, c_size_t)),
    "flush": (c_int, (pointer, c_int)),
    "header_add": (c_int, (pointer, c_char_p, ssize, c_char_p, ssize)),
    "header_cnt": (c_size_t, (pointer,)),
    "header_get_all": (
        c_int, (pointer, c_size_t, POINTER(c_char_p), POINTER(pointer), POINTER(c_size_t)),
    ),
    "headers_destroy": (None, (pointer,)),
    "headers_new": (pointer, (c_size_t,)),
    "incremental_assign": (pointer, (pointer, PLACES)),
    "incremental_unassign": (pointer, (pointer, PLACES)),
    "init_transactions": (pointer, (pointer, c_int)),
    "last_error": (c_int, ()),
    "mem_free": (None, (pointer, pointer)),
    "memberid": (pointer, (pointer,)),
    "message_destroy": (None, (pointer,)),
    "message_errstr": (c_char_p, (pointer,)),
    "message_headers": (c_int, (pointer, POINTER(pointer))),
    "message_timestamp": (c_int64, (pointer, POINTER(c_int))),
    "metadata": (c_int, (pointer, c_int, pointer, POINTER(POINTER(_Metadata)), c_int)),
    "metadata_destroy": (None, (POINTER(_Metadata),)),
    "new": (pointer, (c_int, pointer, c_char_p, c_size_t)),
    "pause_partitions": (c_int, (pointer, PLACES)),
    "poll": (c_int, (pointer, c_int)),
    "poll_set_consumer": (c_int, (pointer,)),
    "position": (c_int, (pointer, PLACES)),
    "produce_batch": (c_int, (pointer, c_int32, c_int, pointer, c_int)),
    "produceva": (pointer, (pointer, pointer, c_size_t)),
    "purge": (c_int, (pointer, c_int)),
    "query_watermark_offsets": (
        c_int, (pointer, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64), c_int),
    ),
    "queue_destroy": (None, (pointer,)),
    "queue_get_consumer": (pointer, (pointer,)),
    "resume_partitions": (c_int, (pointer, PLACES)),
    "seek_partitions": (pointer, (pointer, PLACES, c_int)),
    "send_offsets_to_transaction": (pointer, (pointer, PLACES, pointer, c_int)),
    "subscribe": (c_int, (pointer, PLACES)),
    "thread_cnt": (c_int, ()),
    "topic_conf_destroy": (None, (pointer,)),
    "topic_conf_set": (c_int, (pointer, c_char_p, c_char_p, c_char_p, c_size_t)),
    "topic_destroy": (None, (pointer,)),
    "topic_new": (pointer, (pointer, c_char_p, pointer)),
    "topic_partition_list_add": (POINTER(_TopicPartition), (PLACES, c_char_p, c_int32)),
    "topic_partition_list_destroy": (None, (PLACES,)),
    "topic_partition_list_new": (PLACES, (c_int,)),
    "version": (c_int, ()),
    "version_str": (c_char_p, ()),
}  # fmt: skip


class Library:
    """The loaded library; each function is an attribute without its prefix ``rd_kafka_``.

    Raises:
        UnavailableError: confluent-kafka comes without the library, or with too old a version.
    """

    def __init__(self) -> None:
        loaded = ctypes.CDLL(_path())
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, f"rd_kafka_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        if self.version() < _OLDEST:
            raise UnavailableError(
                f"librdkafka {self.version_str().decode()} is too old", "install confluent-kafka"
            )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"rd_kafka_{name} is not declared")

    def address(self, name: str) -> int:
        """Return a function's address, for compiled code to call."""
        return int(ctypes.cast(getattr(self, name), pointer).value or 0)

    @cached_property
    def length_of(self) -> int:
        """Address of C's ``strlen``: a header's name ends at its first NUL."""
        return int(ctypes.cast(ctypes.CDLL(None).strlen, pointer).value or 0)


@cache
def library() -> Library:
    """Return the library, loaded once."""
    return Library()


def _path() -> str:
    """Return the path of the librdkafka that confluent-kafka has loaded into this process."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.partition("/")[2]
        if path.rpartition("/")[2].startswith("librdkafka"):
            return f"/{path}"
    raise UnavailableError(
        f"confluent-kafka {confluent_kafka.__version__} brings no librdkafka",
        "install its wheel",
    )


def milliseconds(seconds: float) -> int:
    """Return seconds as the library's milliseconds."""
    return max(0, round(seconds * 1_000))


def check(code: int, what: str | None = None) -> None:
    """Raise for an error code.

    Raises:
        KafkaException: With the code.
    """
    if code:
        raise KafkaException(KafkaError(code) if what is None else KafkaError(code, what))


def check_error(error: int | None) -> None:
    """Raise for an error object, and free it.

    Raises:
        KafkaException: With code, text, and whether it is fatal, retriable, or requires an abort.
    """
    if not error:
        return
    api = library()
    cause = KafkaError(
        api.error_code(error),
        api.error_string(error).decode(errors="replace"),
        fatal=bool(api.error_is_fatal(error)),
        retriable=bool(api.error_is_retriable(error)),
        txn_requires_abort=bool(api.error_txn_requires_abort(error)),
    )
    api.error_destroy(error)
    raise KafkaException(cause)


@contextmanager
def places(
    topic: str, offsets: Mapping[int, int], notes: Mapping[int, bytes] | None = None
) -> Iterator[Any]:
    """Provide offsets by partition, some with notes, as a library list within the context."""
    api = library()
    listed = api.topic_partition_list_new(len(offsets))
    noted = []
    try:
        for partition, offset in offsets.items():
            place = api.topic_partition_list_add(listed, topic.encode(), partition).contents
            place.offset = offset
            if notes and (note := notes.get(partition)):
                # Borrowed as well: ``notes`` outlives the list.
                place.metadata = ctypes.cast(ctypes.c_char_p(note), pointer)
                place.metadata_size = len(note)
                noted.append(place)
        yield listed
    finally:
        for place in noted:
            # The memory is ours; the library must not free it.
            place.metadata, place.metadata_size = None, 0
        api.topic_partition_list_destroy(listed)


def read_places(listed: Any) -> dict[int, int]:
    """Return offsets by partition.

    Raises:
        KafkaException: A partition has an error.
    """
    found: dict[int, int] = {}
    for number in range(listed.contents.count):
        place = listed.contents.elements[number]
        check(place.err)
        found[place.partition] = place.offset
    return found


def read_notes(listed: Any) -> dict[int, bytes]:
    """Return the metadata that the broker keeps with offsets, by partition, if there is any."""
    found: dict[int, bytes] = {}
    for number in range(listed.contents.count):
        place = listed.contents.elements[number]
        if place.metadata and place.metadata_size:
            # Its length is explicit, without a final zero. The Python binding, however, commits
            # notes with a final zero, and an empty note as only that zero.
            note = ctypes.string_at(place.metadata, place.metadata_size).removesuffix(b"\0")
            if note:
                found[place.partition] = note
    return found


def partition_count(client: int, topic: str, seconds: float) -> int:
    """Return how many partitions a topic has.

    Raises:
        KafkaException: The cluster does not answer.
    """
    api = library()
    answer = POINTER(_Metadata)()
    handle = api.topic_new(client, topic.encode(), None)
    try:
        check(api.metadata(client, 0, handle, ctypes.byref(answer), milliseconds(seconds)))
        try:
            found = answer.contents.topics[0]
            check(found.err)
            return int(found.partition_count)
        finally:
            api.metadata_destroy(answer)
    finally:
        api.topic_destroy(handle)


def new_topic(client: int, topic: str, options: Mapping[str, str]) -> int:
    """Return a topic's handle, with the client's options except for these.

    The options of the client's first handle of a topic apply to all its handles.

    Raises:
        KafkaException: An option is refused.
    """
    api = library()
    configuration = api.default_topic_conf_dup(client)
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    for name, value in options.items():
        if api.topic_conf_set(configuration, name.encode(), value.encode(), text, _TEXT_BYTES):
            api.topic_conf_destroy(configuration)
            said = text.value.decode(errors="replace")
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, said))  # noqa: SLF001 the binding's own name
    # The library owns the configuration now.
    return int(api.topic_new(client, topic.encode(), configuration))


class LibraryClient:
    """A client of the library, with the state that its callbacks set.

    Args:
        kind: CONSUMER or PRODUCER.
        options: librdkafka's; ``error_cb`` takes a KafkaError and is called while it is served.
        rebalanced: For a consumer: called with (assigned, partition list's address).

    Raises:
        KafkaException: An option is refused, alone or together with the others.
    """

    def __init__(self, kind: int, options: Mapping[str, Any], rebalanced: Any = None) -> None:
        api = self.api = library()
        self._told = options.get("error_cb")
        self._fatal: KafkaError | None = None
        configuration = api.conf_new()
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        for name, value in options.items():
            if name == "error_cb":
                continue
            spelled = str(value).lower() if isinstance(value, bool) else str(value)
            if api.conf_set(configuration, name.encode(), spelled.encode(), text, _TEXT_BYTES):
                api.conf_destroy(configuration)
                said = text.value.decode(errors="replace")
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, said))  # noqa: SLF001 the binding's own name
        # Nothing may be written to standard error; callbacks must stay referenced.
        self._statistics = StatisticsSlot()
        self._callbacks = [FAILED(self._on_error), REPORTED(self._on_statistics)]
        api.conf_set_log_cb(configuration, None)
        api.conf_set_error_cb(configuration, self._callbacks[0])
        api.conf_set_stats_cb(configuration, self._callbacks[1])
        if kind == PRODUCER and "enabled_events" not in options:
            # A flush, and so a commit, sleeps for 10 ms at a time unless a delivery report wakes it
            # up. Reports as events do that, too, and a callback would switch them off.
            api.conf_set_dr_msg_cb(configuration, ignored_report().address)
        if rebalanced is not None:
            self._callbacks.append(REBALANCED(rebalanced))
            api.conf_set_rebalance_cb(configuration, self._callbacks[2])
        self.handle = api.new(kind, configuration, text, _TEXT_BYTES)
        if not self.handle:
            refused = api.last_error()
            api.conf_destroy(configuration)
            said = text.value.decode(errors="replace")
            # Distinguishes incompatible options from a machine that cannot start threads.
            raise KafkaException(KafkaError(refused, said))

    def _on_error(self, handle: int, code: int, reason: bytes, _: object) -> None:
        if code == FATAL:
            self._note_fatal(handle)
        elif self._told is not None:
            self._told(KafkaError(code, reason.decode(errors="replace")))

    def _on_statistics(self, _handle: int, report: int, length: int, _: object) -> int:
        self._statistics.keep(ctypes.string_at(report, length))
        return 0

    def _note_fatal(self, handle: int) -> None:
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        code = self.api.fatal_error(handle, text, _TEXT_BYTES)
        self._fatal = KafkaError(code, text.value.decode(errors="replace"), fatal=True)

    def note_fatal(self) -> None:
        """Note a fatal error that was reported without the callback, as a consumer's polls do."""
        self._note_fatal(self.handle)

    def raise_fatal(self) -> None:
        """Raise a fatal error that was reported meanwhile, once."""
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            raise KafkaException(fatal)

    def destroy(self) -> None:
        """Free the client; further calls do nothing."""
        handle, self.handle = self.handle, None
        if handle:
            # Consumers were closed before, except after a fatal error: then closing never returns.
            self.api.destroy_flags(handle, _NO_CONSUMER_CLOSE)
            # It has ended its threads, so nothing calls them; they and this object are a cycle.
            self._callbacks.clear()
            self._statistics.forget()
