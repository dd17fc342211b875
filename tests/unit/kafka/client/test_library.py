"""A client of the library that was freed leaves nothing behind."""

import gc
import weakref

from stream_scorer.kafka.client.library import PRODUCER, LibraryClient
from stream_scorer.kafka.topics import client_options
from stream_scorer.settings import Kafka


def test_a_freed_client_needs_no_garbage_collector() -> None:
    client = LibraryClient(PRODUCER, client_options.producer(Kafka(bootstrap="127.0.0.1:1"), "i"))
    kept = weakref.ref(client)
    gc.disable()
    try:
        client.destroy()
        del client
        assert kept() is None
    finally:
        gc.enable()
