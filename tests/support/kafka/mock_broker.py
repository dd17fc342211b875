"""librdkafka's own broker inside this process, and records whose header names are any bytes."""

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import numpy as np

_TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADERS = 1, 3, 4, 7, 10
"""Kinds of ``produceva``'s arguments."""
_ARGUMENT_WORDS, _COPY, _PRODUCER, _TEXT_BYTES = 9, 2, 0, 512
_PRODUCE = 0
"""The protocol's number of the request."""
_pointer, _text, _int = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "conf_new": (_pointer, ()),
    "conf_set": (_int, (_pointer, _text, _text, _text, ctypes.c_size_t)),
    "new": (_pointer, (_int, _pointer, _text, ctypes.c_size_t)),
    "destroy": (None, (_pointer,)),
    "flush": (_int, (_pointer, _int)),
    "handle_mock_cluster": (_pointer, (_pointer,)),
    "header_add": (_int, (_pointer, _text, ctypes.c_ssize_t, _text, ctypes.c_ssize_t)),
    "headers_new": (_pointer, (ctypes.c_size_t,)),
    "mock_cluster_bootstraps": (_text, (_pointer,)),
    "mock_topic_create": (_int, (_pointer, _text, _int, _int)),
    "mock_push_request_errors_array": (
        None, (_pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(_int)),
    ),
    "produceva": (_pointer, (_pointer, _pointer, ctypes.c_size_t)),
}  # fmt: skip

RawHeaders = Sequence[tuple[bytes, bytes | None]]


@cache
def _library() -> Any:
    """Return the librdkafka of confluent-kafka; its functions without their prefix."""
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    loaded = ctypes.CDLL(str(next(folder.glob("librdkafka*"))))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
        setattr(loaded, name, function)
    return loaded


@contextmanager
def _producer(**options: str) -> Iterator[int]:
    api, error = _library(), ctypes.create_string_buffer(_TEXT_BYTES)
    configuration = api.conf_new()
    for name, value in options.items():
        option = name.replace("_", ".").encode()
        assert api.conf_set(configuration, option, value.encode(), error, _TEXT_BYTES) == 0
    handle = api.new(_PRODUCER, configuration, error, _TEXT_BYTES)
    assert handle, error.value
    try:
        yield handle
    finally:
        api.destroy(handle)


@contextmanager
def mock_broker(refused: int = 0, topics: Mapping[str, int] | None = None) -> Iterator[str]:
    """Yield the address of a broker that creates topics when they are used.

    Args:
        refused: The error that it answers to the first request with records; 0 for none.
        topics: Numbers of partitions of topics that exist from the start.
    """
    with _producer(test_mock_num_brokers="1") as handle:
        api = _library()
        cluster = api.handle_mock_cluster(handle)
        for name, partitions in (topics or {}).items():
            assert api.mock_topic_create(cluster, name.encode(), partitions, 1) == 0
        if refused:
            api.mock_push_request_errors_array(cluster, _PRODUCE, 1, (_int * 1)(refused))
        yield api.mock_cluster_bootstraps(cluster).decode()


def produce(bootstrap: str, topic: str, headers: Sequence[RawHeaders], value: bytes = b"v") -> None:
    """Write a record to partition 0 for each of some lists of headers, in one batch if they fit.

    Args:
        bootstrap: The broker.
        topic: The topic.
        headers: By record; names are sent as they are.
        value: Of every record.
    """
    api = _library()
    named = ctypes.create_string_buffer(topic.encode())
    held = ctypes.create_string_buffer(value, len(value))
    with _producer(
        bootstrap_servers=bootstrap, message_max_bytes="100000000", linger_ms="50",
        compression_type="zstd",
    ) as handle:  # fmt: skip
        for each in headers:
            listed = api.headers_new(len(each))
            for name, text in each:
                size = -1 if text is None else len(text)
                assert api.header_add(listed, name, len(name), text, size) == 0
            words = np.zeros((5, _ARGUMENT_WORDS), np.int64)
            words[:, 0] = _TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADERS
            words[0, 1] = ctypes.addressof(named)
            words[2, 1:3] = ctypes.addressof(held), len(value)
            words[3, 1], words[4, 1] = _COPY, listed
            assert not api.produceva(handle, words.ctypes.data, len(words))
        assert api.flush(handle, 30_000) == 0
