"""librdkafka's own broker inside this process, and records whose header names are any bytes."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from stream_scorer.kafka.client.kernels import ARGUMENT_WORDS
from stream_scorer.kafka.client.library import PRODUCER, LibraryClient, library

_TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADERS = 1, 3, 4, 7, 10
"""Kinds of ``produceva``'s arguments."""
_COPY = 2

RawHeaders = Sequence[tuple[bytes, bytes | None]]


@contextmanager
def mock_broker() -> Iterator[str]:
    """Yield the address of a broker that creates topics when they are used."""
    client = LibraryClient(PRODUCER, {"test.mock.num.brokers": 1})
    loaded = ctypes.CDLL(_path())
    cluster_of: Any = loaded.rd_kafka_handle_mock_cluster
    cluster_of.restype, cluster_of.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
    address_of: Any = loaded.rd_kafka_mock_cluster_bootstraps
    address_of.restype, address_of.argtypes = ctypes.c_char_p, (ctypes.c_void_p,)
    try:
        yield address_of(cluster_of(client.handle)).decode()
    finally:
        client.destroy()


def produce(bootstrap: str, topic: str, headers: Sequence[RawHeaders], value: bytes = b"v") -> None:
    """Write a record to partition 0 for each of some lists of headers, all in one batch.

    Args:
        bootstrap: The broker.
        topic: The topic.
        headers: By record; names are sent as they are.
        value: Of every record.
    """
    api = library()
    options = {
        "bootstrap.servers": bootstrap, "message.max.bytes": 100_000_000, "linger.ms": 50,
        "compression.type": "zstd",
    }  # fmt: skip
    client = LibraryClient(PRODUCER, options)
    named = ctypes.create_string_buffer(topic.encode())
    held = ctypes.create_string_buffer(value, len(value))
    try:
        for each in headers:
            listed = api.headers_new(len(each))
            for name, text in each:
                size = -1 if text is None else len(text)
                assert api.header_add(listed, name, len(name), text, size) == 0
            words = np.zeros((5, ARGUMENT_WORDS), np.int64)
            words[:, 0] = _TOPIC, _PARTITION, _VALUE, _FLAGS, _HEADERS
            words[0, 1] = ctypes.addressof(named)
            words[2, 1:3] = ctypes.addressof(held), len(value)
            words[3, 1], words[4, 1] = _COPY, listed
            assert not api.produceva(client.handle, words.ctypes.data, len(words))
        assert api.flush(client.handle, 30_000) == 0
    finally:
        client.destroy()


def _path() -> str:
    """Return the file of the library that is loaded."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return next("/" + line.partition("/")[2] for line in lines if "librdkafka" in line)
