"""The outcome of each input row in one way, and the differences between two ways."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.decision.decide_batch import DecidedBatch
from stream_scorer.core.events.batch import Flag, Outcome
from stream_scorer.dead_letters.format import parse
from stream_scorer.kafka.topics.partitioner import partition_of
from stream_scorer.ports import Float64, Int64
from stream_scorer.registry.sources import reader_schema

Bool = NDArray[np.bool_]

ASPECTS = ("count", "features", "score", "decision", "flags", "reason")
_FRAMING = 5
# The time of a decision does not belong to its content.
KEPT = 0xFF & ~int(Flag.LATE_DECISION)
"""The flags that are compared."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of n input rows; row i of each array belongs to input row i.

    Attributes:
        count: int64[n], decisions and dead letters together; 1 is correct.
        features: float64[n, m], zeros without a decision.
        score: float64[n], likewise.
        decision: int64[n], a value of ``Outcome``; -1 for none.
        flags: int64[n], bits of ``Flag`` without LATE_DECISION.
        reason: n reject reasons; empty without a dead letter.
    """

    count: Int64
    features: Float64
    score: Float64
    decision: Int64
    flags: Int64
    reason: NDArray[np.object_]

    @classmethod
    def none(cls, rows: int, width: int) -> "Outcomes":
        """Return the outcomes of rows of which nothing has been read yet."""
        zeros = np.zeros(rows, np.int64)
        return cls(
            zeros.copy(), np.zeros((rows, width)), np.zeros(rows), np.full(rows, -1),
            zeros.copy(), np.full(rows, "", object),
        )  # fmt: skip

    @classmethod
    def of(cls, made: DecidedBatch, rows: int) -> "Outcomes":
        """Return what one pass of the core made of ``rows`` rows."""
        decisions, at = made.decided[0].decisions, made.accepted
        found = cls.none(rows, decisions.features.shape[1])
        found.features[at] = decisions.features
        found.score[at] = decisions.score
        found.decision[at] = decisions.outcome
        found.flags[at] = decisions.flags & KEPT
        found.reason[made.rejections.rows] = [str(r) for r in made.rejections.reasons]
        found.count[at] += 1
        found.count[made.rejections.rows] += 1
        return found

    def without_terminals(self, columns: Bool) -> "Outcomes":
        """Return what of the outcomes does not hang on terminals.

        Args:
            columns: bool[m], the features by terminal.
        """
        return replace(
            self,
            features=np.where(columns, 0.0, self.features),
            score=np.zeros_like(self.score),
            decision=np.minimum(self.decision, 0),
            flags=self.flags & ~int(Flag.DEGRADED),
        )

    def tell(self, row: int) -> str:
        """Describe what became of a row."""
        if self.count[row] != 1:
            return f"{self.count[row]} outcomes"
        if self.reason[row]:
            return str(self.reason[row])
        flags = Flag(int(self.flags[row])).name or ""
        told = f"{Outcome(self.decision[row]).name} {float(self.score[row])!r} {flags}"
        return f"{told.strip()} {self.features[row].tolist()}"


def unlike(one: Outcomes, other: Outcomes) -> dict[str, Bool]:
    """Return, by aspect, bool[n]: the rows in which two ways differ, floats bit for bit.

    A row that only one of them decides differs in its features and its score.
    """
    half = (one.decision < 0) != (other.decision < 0)
    bits = one.features.view(np.int64) != other.features.view(np.int64)
    return {
        "count": one.count != other.count,
        "features": half | bits.any(axis=1),
        "score": half | (one.score.view(np.int64) != other.score.view(np.int64)),
        "decision": one.decision != other.decision,
        "flags": one.flags != other.flags,
        "reason": one.reason != other.reason,
    }


def differences(
    one: Outcomes, other: Outcomes, names: Sequence[str], asked: Bool, most: int
) -> Iterator[str]:
    """Yield a line for each of the first rows in which two ways differ.

    Args:
        one: The expected outcomes.
        other: The actual ones.
        names: n names of the rows.
        asked: bool[n], the rows that are compared.
        most: Maximum number of lines.
    """
    found = unlike(one, other)
    rows = np.flatnonzero(np.logical_or.reduce(list(found.values())) & asked)
    for row in rows[:most].tolist():
        where = ", ".join(aspect for aspect in ASPECTS if found[aspect][row])
        yield f"{names[row]}: {where}: {one.tell(row)} / {other.tell(row)}"


def places(keys: Sequence[bytes], partitions: int) -> list[list[int]]:
    """Return the rows of each partition in the order of their offsets.

    Args:
        keys: n keys in the order in which they are sent.
        partitions: How many partitions the input has.
    """
    rows: list[list[int]] = [[] for _ in range(partitions)]
    known = {key: partition_of(key, partitions) for key in set(keys)}
    for row, key in enumerate(keys):
        rows[known[key]].append(row)
    return rows


def published(
    decisions: Iterable[Any],
    letters: Iterable[Any],
    rows: Sequence[Sequence[int]],
    identities: Sequence[str],
    payloads: Sequence[bytes],
    width: int,
) -> tuple[Outcomes, int]:
    """Return each row's outcome by the messages, and how many name a wrong place.

    Args:
        decisions: Messages of the decisions topic.
        letters: Messages of the dead-letter topic.
        rows: From :func:`places`.
        identities: n transaction ids.
        payloads: n payloads as they were sent.
        width: Features per decision.
    """
    schema = fastavro.parse_schema(json.loads(reader_schema("decision.v2")))
    found = Outcomes.none(len(payloads), width)
    strange = 0
    for message in decisions:
        told: Any = fastavro.schemaless_reader(io.BytesIO(message.value()[_FRAMING:]), schema, None)
        row = _row(rows, told["source_partition"], told["source_offset"])
        if row is None or told["transaction_id"] != identities[row]:
            strange += 1
            continue
        found.count[row] += 1
        found.features[row] = np.frombuffer(told["features"], "<f8")
        found.score[row] = told["score"]
        found.decision[row] = Outcome[told["decision"]]
        found.flags[row] = sum(Flag[name.upper()] for name in told["flags"]) & KEPT
    for message in letters:
        letter = parse(message)
        row = _row(rows, letter.source_partition, letter.source_offset)
        if row is None or letter.value != payloads[row]:
            strange += 1
            continue
        found.count[row] += 1
        found.reason[row] = letter.reason
    return found, strange


def _row(rows: Sequence[Sequence[int]], partition: int, offset: int) -> int | None:
    if 0 <= partition < len(rows) and 0 <= offset < len(rows[partition]):
        return rows[partition][offset]
    return None


@dataclass(frozen=True, slots=True)
class Way:
    """The outcomes of one way for its rows.

    Attributes:
        outcomes: Of n rows.
        given: bool[n], the rows that it received.
        asked: bool[n], those that must equal the reference.
    """

    outcomes: Outcomes
    given: Bool
    asked: Bool

    @property
    def missing(self) -> int:
        """Rows of which there is neither a decision nor a dead letter."""
        return int((self.given & (self.outcomes.count == 0)).sum())

    @property
    def doubled(self) -> int:
        """Decisions and dead letters beyond the first of their row, or without a row."""
        return int(np.maximum(self.outcomes.count - self.given, 0).sum())


def report(
    reference: Outcomes, ways: Mapping[str, Way], compared: Bool, late: Bool, terminals: Bool
) -> dict[str, Any]:
    """Return the counts of rows in which all ways equal the reference.

    Args:
        reference: The expected outcomes.
        ways: The actual ones, by name.
        compared: bool[n], the rows that must be equal.
        late: bool[n], the rows that must be equal except for features by terminal, of which they
            see only the remaining rows.
        terminals: bool[m], the features by terminal.
    """
    by_way = {name: unlike(reference, way.outcomes) for name, way in ways.items()}
    equal = {
        aspect: compared
        & ~np.logical_or.reduce(
            [found[aspect] & ways[name].asked for name, found in by_way.items()]
        )
        for aspect in ASPECTS
    }
    known = reference.without_terminals(terminals)
    late_unlike = {
        name: np.logical_or.reduce(
            [*unlike(known, way.outcomes.without_terminals(terminals)).values()]
        )
        & (late & way.given)
        for name, way in ways.items()
    }
    return {
        "events": int(compared.sum()),
        "features_equal": int(equal["features"].sum()),
        "scores_equal": int(equal["score"].sum()),
        "decided": int((compared & (reference.decision >= 0)).sum()),
        "late": int((late & (reference.flags & Flag.LATE != 0)).sum()),
        "late_rows": int(late.sum()),
        "late_rows_equal": int((late & ~np.logical_or.reduce([*late_unlike.values()])).sum()),
        "rejected": dict(Counter(r for r in reference.reason[compared].tolist() if r)),
        "ways": [
            {
                "way": name,
                "compared": int(ways[name].asked.sum()),
                "missing": ways[name].missing,
                "duplicates": ways[name].doubled,
                "degraded": int(
                    ((ways[name].outcomes.flags & Flag.DEGRADED != 0) & compared).sum()
                ),
                "unlike": {a: int((rows & ways[name].asked).sum()) for a, rows in found.items()},
                "unlike_after_eviction": int(
                    (
                        np.logical_or.reduce(list(found.values()))
                        & (ways[name].given & ~compared & ~late)
                    ).sum()
                ),
            }
            for name, found in by_way.items()
        ],
    }
