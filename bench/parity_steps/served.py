"""The same transactions by the API: ``/v1`` decides them, ``/v2`` scores the answers' features.

Their reference is the core in memory, and next to them are a batch job and a stream of four
partitions. The rows are those of the other ways that every way takes alike: no repeated id, which
``/v1`` answers with the first decision, and no event past the lateness, which a file cannot
contain. The model has no terminal features. At the end ``stream-scorer reproduce`` recomputes the
decisions of ``/v1`` from the input topic.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from bench.harness.arena import FULL, PARTITIONS, Arena
from bench.harness.process import Contender, Entry
from bench.harness.script import missed
from bench.parity_steps.batch import Batch
from bench.parity_steps.http_ways import DecisionAnswers, scores_of
from bench.parity_steps.input import AFTER_EVICTION, AGAIN, LATE, Input, build
from bench.parity_steps.labels import label
from bench.parity_steps.outcomes import Outcomes, Way, places, published, report
from bench.parity_steps.streams import Feeder, Traffic, encoded, wait
from stream_scorer.devkafka.cluster import free_ports
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.models.stores.deployment import Deployment, load_model
from stream_scorer.security.audit_access import open_audit
from stream_scorer.security.client_changes import ClientChanges

_UNSHARED = [AFTER_EVICTION, *LATE, *AGAIN]
_SPARE = 1.2
"""Rows that are built for each row that is kept."""
_CLIENT = "bench"
_RATE, _BURST = 1_000_000.0, 100_000
_BEGIN = "2000-01-01"
_SERVED = "v1"


def shared_rows(events: int) -> Input:
    """Return the first ``events`` rows that every way takes alike."""
    rows = build(round(events * _SPARE))
    shared = ~np.isin(rows.kind, _UNSHARED)
    known: set[tuple[str, str]] = set()
    names = ("customer_id", "transaction_id")
    identities = zip(*(rows.table.column(name).to_pylist() for name in names), strict=True)
    for row, identity in enumerate(identities):
        # An id that was used long ago is a repeat for ``/v1``, whatever its row is here for.
        shared[row] &= identity not in known
        if shared[row]:
            known.add(identity)
    kept = np.flatnonzero(shared)[:events]
    if len(kept) < events:
        raise ValueError(f"{events} rows are asked for, and {len(kept)} are alike in every way")
    return Input(rows.table.take(pa.array(kept)), rows.kind[kept])


class ServedWays:
    """All ways of the same rows.

    Args:
        arena: Where.
        events: How many rows.
    """

    def __init__(self, arena: Arena, events: int) -> None:
        self._arena = arena
        self._rows = shared_rows(events)
        model, plan = load_model(arena.settings, Deployment(FULL))
        self._width = len(model.features.names)
        labels = label(self._rows, plan)
        self._traffic = encoded(self._rows, labels, arena.settings)
        self._batch = Batch(arena, self._rows, None, FULL, None, name="served-batch")

    @property
    def traffic(self) -> Traffic:
        """The rows as they are sent to a topic."""
        return self._traffic

    def run(self, core: Outcomes) -> dict[str, Any]:
        """Run all ways; return their report.

        Args:
            core: The outcomes of the rows in memory.
        """
        every = np.ones(len(self._rows), np.bool_)
        runs = {"batch": self._batch.run(self._width), "stream": self._streamed()}
        served = self._served()
        runs |= served["outcomes"]
        ways = {"core": Way(core, every, every)}
        ways |= {name: Way(found, every, every) for name, found in runs.items()}
        none = np.zeros(len(self._rows), np.bool_)
        document = report(core, ways, every, none, np.zeros(self._width, np.bool_))
        for name in ("late_rows", "late_rows_equal"):
            del document[name]
        document["out_of_order"] = self._rows.out_of_order()
        return document | served["report"]

    # -- ways -------------------------------------------------------------------------------------

    def _scorer(self, name: str) -> tuple[Entry, Contender]:
        entry = self._arena.entry(
            name, f"{name}.transactions", "run", "--from", "earliest", "--model", FULL, probed=True
        )
        create_topics(entry.settings.kafka, PARTITIONS)
        scorer = self._arena.start(entry)
        scorer.begin()
        wait(scorer.ready, f"the scorer of {name} is ready", scorer)
        return entry, scorer

    def _streamed(self) -> Outcomes:
        entry, scorer = self._scorer("served-stream")
        feeder = Feeder(self._traffic, entry.settings)
        feeder.start()
        feeder.finish()
        kafka, count = entry.settings.kafka, len(self._traffic.keys)
        wait(
            lambda: self._arena.committed(kafka.group, kafka.topics.transactions) == count,
            "the stream is decided", scorer,
        )  # fmt: skip
        found = self._published(entry, places(self._traffic.keys, PARTITIONS))
        _stopped(scorer)
        return found

    def _published(self, entry: Entry, rows: list[list[int]]) -> Outcomes:
        topics, traffic = entry.settings.kafka.topics, self._traffic
        found, strange = published(
            self._arena.outputs(topics.decisions), self._arena.outputs(topics.dead_letters),
            rows, traffic.identities, traffic.payloads, self._width,
        )  # fmt: skip
        if strange:
            raise SystemExit(f"{entry.name}: {strange} outcomes name a record that is not theirs")
        return found

    def _served(self) -> dict[str, Any]:
        """Run a scorer and a gateway; return the outcomes of both APIs, and what a report says."""
        entry, scorer = self._scorer(_SERVED)
        port, clients = free_ports(1)[0], self._arena.directory / "clients.json"
        changes = ClientChanges(clients, open_audit(self._arena.settings.audit))
        made = changes.add(_CLIENT, scopes=["score"], rate_per_second=_RATE, burst=_BURST)
        if made is None:
            raise SystemExit("the bench's client has no key")
        gateway = self._arena.start(
            self._arena.entry(
                "gateway", entry.settings.kafka.topics.transactions,
                "serve", "--decisions", "--plan-of", FULL, "--model", FULL, "--port", str(port),
                outputs=_SERVED, probed=True, kafka={"group": _SERVED},
                serving={"access": {"clients_file": str(clients)}},
            )
        )  # fmt: skip
        gateway.begin()
        wait(gateway.ready, "the gateway is ready", gateway, scorer)
        asked = DecisionAnswers(port, made.text, self._bodies(), self._width)
        asked.ask()
        many, alone = scores_of(port, made.text, FULL, asked.outcomes.features)
        for process in (gateway, scorer):
            _stopped(process)
        topic = self._published(entry, _by_place(asked))
        first = asked.outcomes.score[: len(alone)]
        return {
            "outcomes": {
                "v1": asked.outcomes, "v1_topic": topic, "v2": replace(asked.outcomes, score=many),
            },
            "report": {
                "v1_statuses": {str(k): v for k, v in sorted(asked.statuses.items())},
                "v2_single_rows": len(alone),
                "v2_single_rows_equal": int((alone.view(np.int64) == first.view(np.int64)).sum()),
                "reproduced": self._reproduced(entry),
            },
        }  # fmt: skip

    def _bodies(self) -> list[dict[str, Any]]:
        """Return the rows as requests' records."""
        times = self._rows.time.tolist()
        rows = self._rows.table.to_pylist()
        return [row | {"event_time": at} for row, at in zip(rows, times, strict=True)]

    def _reproduced(self, served: Entry) -> dict[str, int]:
        """Recompute the decisions of ``/v1`` from the input topic; return the counts."""
        entry = self._arena.entry(
            "reproduce", served.settings.kafka.topics.transactions,
            "reproduce", "--depth", "input", "--from", _BEGIN, "--json",
            outputs=_SERVED, kafka={"group": _SERVED},
        )  # fmt: skip
        job = self._arena.start(entry)
        job.begin()
        wait(lambda: job.ended() is not None, "the decisions are reproduced")
        found = json.loads(job.said[job.said.index("{") :])
        names = ("chosen", "equal", "differing", "missing", "unexpected", "not_compared")
        return {name: found[name] for name in names} | {"exit_code": job.ended() or 0}


def _by_place(asked: DecisionAnswers) -> list[list[int]]:
    """Return the rows of each partition in the order of their offsets, by the answers."""
    rows: list[list[int]] = []
    for partition in range(PARTITIONS):
        own = np.flatnonzero(asked.places[:, 0] == partition)
        order = own[np.argsort(asked.places[own, 1])]
        if not np.array_equal(asked.places[order, 1], np.arange(len(order))):
            raise SystemExit(f"the answers do not name each offset of partition {partition} once")
        rows.append(order.tolist())
    return rows


def _stopped(process: Contender) -> None:
    if code := process.stop():
        raise SystemExit(f"{process.entry.name} left with {code}: {process.last}")


def served_failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each thing that the report of the served ways must show and does not."""
    events, reproduced = document["events"], document["reproduced"]
    counts = [
        (f"{way['way']}: {{}} {what}", count)
        for way in document["ways"]
        for what, count in (
            ("missing", way["missing"]),
            ("duplicates", way["duplicates"]),
            *((f"rows differ in {aspect}", unlike) for aspect, unlike in way["unlike"].items()),
        )
    ]
    lines = missed(
        ("served: {} features are equal", document["features_equal"], "==", events),
        ("served: {} scores are equal", document["scores_equal"], "==", events),
        ("served: {} are decided", document["decided"], "==", events),
        ("served: {} rows alone are equal", document["v2_single_rows_equal"], "==",
         document["v2_single_rows"]),
        ("served: {} decisions are reproduced", reproduced["equal"], "==", events),
        ("served: reproduce left with {}", reproduced["exit_code"], "==", 0),
        *((f"served: {line}", count, "==", 0) for line, count in counts),
    )  # fmt: skip
    return [*lines, *([] if document["out_of_order"] else ["served: no event was out of order"])]
