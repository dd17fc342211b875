"""A start waits until one failing schema id counts as unknown, and not for ever for a registry."""

import pytest

from stream_scorer.errors import RegistryUnavailableError, SchemaError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.registry.http_registry import HttpRegistry
from stream_scorer.settings import Registry
from stream_scorer.telemetry import DependencyBack, DependencyUnavailable, Event
from tests.support.registry.fake_registry import Clock, Reply, answering

BROKEN: Reply = (500, {"error_code": 50001, "message": "store"})
CONFIG: Reply = (200, {"compatibilityLevel": "FULL"})


def test_an_id_for_which_alone_the_registry_fails_is_given_up() -> None:
    clock, told = Clock(), list[Event]()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    with answering(lambda request: CONFIG if request.path == "/config" else BROKEN) as url:
        registry = HttpRegistry(Registry(url=url), clock)
        with pytest.raises(SchemaError, match="answers for other schemas"):
            read_patiently(lambda: registry.writer_schema(7), told.append, clock, sleep)
    assert 5.0 <= clock.now < 10.0
    assert [type(each) for each in told] == [DependencyUnavailable]


def test_a_registry_that_is_away_for_seconds_is_waited_for() -> None:
    clock, told = Clock(), list[Event]()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    def read() -> str:
        if clock.now < 20.0:
            raise RegistryUnavailableError("registry: no answer")
        return "read"

    assert read_patiently(read, told.append, clock, sleep) == "read"
    assert [type(each) for each in told] == [DependencyUnavailable, DependencyBack]


def test_a_registry_that_stays_away_ends_the_read() -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    def read() -> None:
        raise RegistryUnavailableError("registry: no answer")

    with pytest.raises(RegistryUnavailableError):
        read_patiently(read, clock=clock, sleep=sleep)
    assert clock.now == 30.0
