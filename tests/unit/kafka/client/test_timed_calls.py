"""Calls past their time limit are abandoned, and their client is freed when they return."""

import gc
import threading
import weakref
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream_scorer.kafka.client.timed_calls import BoundedCalls

SOON, LONG = 0.05, 60.0


def test_a_call_runs_on_a_separate_thread_and_raises_its_error() -> None:
    calls = BoundedCalls("t")
    where: list[str] = []
    calls.call(lambda: where.append(threading.current_thread().name), LONG)
    assert where == ["t"]
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: 1 // 0, LONG)
    calls.call(lambda: where.append("again"), LONG)
    assert where == ["t", "again"]
    assert not calls.left


class Batch:
    """What a caller of a failing call holds."""


def test_an_error_that_was_handled_keeps_nothing_alive() -> None:
    calls = BoundedCalls("t")
    held: list[weakref.ref[Batch]] = []

    def publish() -> None:
        batch = Batch()
        held.append(weakref.ref(batch))
        calls.call(lambda: 1 // 0, LONG)

    gc.disable()
    try:
        with suppress(ZeroDivisionError):
            publish()
        assert held[0]() is None
    finally:
        gc.enable()


def test_a_call_past_its_limit_is_abandoned_and_no_other_made() -> None:
    calls = BoundedCalls("t")
    go, done = threading.Event(), threading.Event()
    for work in (go.wait, done.set):
        with pytest.raises(KafkaException) as caught:
            calls.call(work, SOON)
        assert caught.value.args[0].code() == KafkaError._TIMED_OUT
        assert caught.value.args[0].fatal()
        assert calls.left
    go.set()
    freed = threading.Event()
    calls.end(freed.set)
    assert freed.wait(LONG)
    assert not done.is_set()


def test_the_client_is_freed_when_the_call_is_back() -> None:
    calls = BoundedCalls("t")
    go, freed = threading.Event(), threading.Event()
    with pytest.raises(KafkaException):
        calls.call(go.wait, SOON)
    calls.end(freed.set)
    assert not freed.wait(SOON)
    go.set()
    assert freed.wait(LONG)


def test_a_client_without_such_a_call_is_freed_immediately() -> None:
    freed: list[str] = []
    BoundedCalls("idle").end(lambda: freed.append("never called"))
    calls = BoundedCalls("idle")
    calls.call(lambda: None, LONG)
    calls.end(lambda: freed.append("idle"))
    assert freed == ["never called", "idle"]
    assert "idle" not in {thread.name for thread in threading.enumerate()}
