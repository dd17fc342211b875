"""The retained input, folded into rings again as the scorer does it: for the ``state`` commands."""

import time
from collections.abc import Callable, Iterator

import numpy as np

from stream_scorer.apps.scorer import Deployment, load_model, open_codecs
from stream_scorer.codec.schemas import open_registry
from stream_scorer.core.batch import EventBatch
from stream_scorer.core.scorer import Rings, replay
from stream_scorer.core.windows import CustomerRings
from stream_scorer.errors import StateError, UnavailableError
from stream_scorer.kafka.replay import InputReplay
from stream_scorer.ports import RawRecords
from stream_scorer.settings import Kafka, Settings
from stream_scorer.state.beginning import Beginning
from stream_scorer.state.history import INPUT
from stream_scorer.state.rejected import Rejected
from stream_scorer.state.rings import Events

_SILENCE_SECONDS = 30.0


class Refolding:
    """Folds the retained input into rings as the scorer does.

    Args:
        settings: The cluster, the input, the registry.
        deployment: Whose features say what rings remember.
    """

    def __init__(self, settings: Settings, deployment: Deployment) -> None:
        self._model, self._plan = load_model(settings, deployment)
        self._decoder = open_codecs(
            settings, self._plan, open_registry(settings.registry)
        ).transactions
        self._kafka = settings.kafka
        self.retention = self._model.features.retention
        self.beginning = Beginning()

    def rings(self) -> Rings:
        """Return empty rings."""
        return Rings(self._model.features)

    def fold(
        self,
        rings: Rings,
        partition: int,
        first: int,
        end: int,
        rejected: Rejected,
        keep: Callable[[EventBatch], EventBatch] = lambda events: events,
    ) -> None:
        """Fold a partition's input of ``[first, end)``, of each chunk the events that are kept.

        What was rejected is not decoded again, and not folded. ``beginning`` has then seen all
        others, kept or not.

        Raises:
            StateError: What was rejected cannot be read.
            UnavailableError: The broker has been silent for 30 s.
        """
        self.beginning = Beginning()
        for every in input_of(self._kafka, partition, first, end):
            raw = others_of(rejected, every, self._kafka, partition)
            if raw is None:
                continue
            events, _, _ = self._decoder.decode(raw)
            self.beginning.read(events, self._plan)
            rings.release(replay(keep(events), rings, self._plan, self._model.features))

    def insert(self, rings: CustomerRings, events: Events) -> None:
        """Fold events that were accepted once, each customer's in the order of time.

        So whatever a ring does with its events, it does with these: the cap, the horizon, and a
        transaction id that it holds already.
        """
        n = len(events.time)
        order = np.arange(n)
        journal = rings.fold(
            order, np.zeros(n, np.bool_), events.customers, events.hash, events.time,
            events.amount, np.array([events.fields[name] for name in rings.fields], np.int64)
            .reshape(len(rings.fields), n), np.zeros(n, np.uint8),
            np.empty((n, self._model.features.engine.width)),
        )  # fmt: skip
        rings.release(journal)

    def complete_since(self, low: int) -> dict[str, int]:
        """Return, after ``fold`` from the oldest retained offset, since when history is whole."""
        if low == 0:
            return {}
        return {INPUT: self.beginning.whole_from(self.retention.lateness_ms)}


def others_of(
    rejected: Rejected, raw: RawRecords, kafka: Kafka, partition: int
) -> RawRecords | None:
    """Return those records of a partition that were not rejected; None where none is left.

    Raises:
        StateError: What was rejected cannot be read.
    """
    try:
        return rejected.others(raw)
    except ValueError as error:
        raise StateError(
            f"checkpoint of {kafka.topics.transactions} partition {partition}: {error}",
            "with every scorer of the group stopped: stream-scorer state rebuild",
        ) from error


def input_of(kafka: Kafka, partition: int, first: int, end: int) -> Iterator[RawRecords]:
    """Yield the input of a partition, from ``first`` up to, not including, ``end``.

    Raises:
        StateError: It is deleted meanwhile.
        UnavailableError: The broker has been silent for 30 s.
    """
    if first >= end:
        return
    topic = kafka.topics.transactions
    reading = InputReplay(kafka, topic, partition, first, end)
    heard = time.monotonic()
    try:
        while not reading.done:
            before = reading.next_offset
            raw = reading.step()
            if raw is not None:
                yield raw
            if reading.next_offset > before:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_SECONDS:
                raise UnavailableError(
                    f"{topic} partition {partition}: silent for "
                    f"{_SILENCE_SECONDS:.0f} s at offset {before}",
                    "check the brokers",
                )
    finally:
        reading.close()
