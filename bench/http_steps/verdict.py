"""The gates of ``bench/http.py`` as data, and a report judged by them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.harness.script import Gate, missed
from bench.http_steps.scores import CASES, stalled_share


@dataclass(frozen=True, slots=True)
class Ratio:
    """A bound of one contender's figure over another's.

    Attributes:
        above: Key of the contender that is judged.
        below: Key of the one that it is compared with.
        figure: ``rps``, ``p50_ms`` or ``busy_p50_ms``.
        comparison: ``>=`` or ``<=``.
        limit: The bound.
    """

    above: str
    below: str
    figure: str
    comparison: str
    limit: float


RATIOS: Final = (
    Ratio("ours_rest", "echo", "rps", ">=", 0.7),
    Ratio("ours_rest", "mlserver", "rps", ">=", 5.0),
    Ratio("ours_rest", "fastapi", "rps", ">=", 3.0),
    Ratio("ours_rest", "mlserver", "p50_ms", "<=", 0.2),
    Ratio("ours_rest", "mlserver", "busy_p50_ms", "<=", 0.2),
    Ratio("ours_grpc", "grpc_echo", "rps", ">=", 0.7),
    Ratio("ours_grpc", "mlserver_grpc", "rps", ">=", 3.0),
)
V1_RATIOS: Final = {"p50": 1.3, "p99": 1.5}
"""The largest ratio of an answer's time to its decision's age, by percentile."""
LEAST_BUSY: Final = 0.95
"""Share of its core that a server uses in a closed loop; else the generator was the limit."""
MOST_SLIP_MS: Final = 5.0
LEAST_LATE: Final = 0.6
"""Share of the requests that a stop makes late which a generator must show."""
REFUSED_MS, ACCEPTED_RATIO, ACCEPTED_SHARE, PROBE_MS = 20.0, 2.0, 0.9, 50.0
GROWN_MB: Final = 256.0


def ratios(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratio of each gate whose contenders were measured."""
    return {
        f"{each.above}_to_{each.below}_{each.figure.removesuffix('_ms')}": round(
            document[each.above][each.figure] / document[each.below][each.figure], 3
        )
        for each in RATIOS
        if document.get(each.above) and document.get(each.below)
    }


def failures(document: Mapping[str, Any], parts: Sequence[str]) -> list[str]:
    """Return one line for each gate that a report misses, with the measured values.

    Args:
        document: The report.
        parts: Those that were run; a contender of another part is not missed.
    """
    return missed(
        *_of_scores(document, parts), *_of_v1(document, parts), *_of_overload(document, parts)
    )


def _of_scores(document: Mapping[str, Any], parts: Sequence[str]) -> Iterator[Gate]:
    measured = [case.key for case in CASES if case.part in parts]
    for each in RATIOS:
        if each.above not in measured or each.below not in measured:
            continue
        above, below = document[each.above][each.figure], document[each.below][each.figure]
        text = f"{each.figure}: {each.above} {above} / {each.below} {below} = {{}}"
        yield text, round(above / below, 3), each.comparison, each.limit
    for key in measured:
        busy, slip = document[key]["busy"], document[key]["slip_p99_ms"]
        yield f"{key}: the server used {{}} of its core", busy, ">=", LEAST_BUSY
        yield f"{key}: the generator was {{}} ms late (p99)", slip, "<=", MOST_SLIP_MS
    for name, share in document.get("late_share", {}).items():
        shown = round(share / stalled_share(), 3)
        yield f"{name} shows {{}} of the requests that a stop makes late", shown, ">=", LEAST_LATE


def _of_v1(document: Mapping[str, Any], parts: Sequence[str]) -> Iterator[Gate]:
    for row in document["v1"] if "v1" in parts else ():
        for name, limit in V1_RATIOS.items():
            answer, age = row[f"{name}_ms"], row[f"stream_{name}_ms"]
            text = f"/v1 at {row['rate']:,}/s, {name}: answer {answer} ms / age {age} ms = {{}}"
            yield text, round(answer / age, 3), "<=", limit
        yield f"/v1 at {row['rate']:,}/s: {{}} requests without a 200", row["not_200"], "==", 0
        text = f"/v1 at {row['rate']:,}/s: the generator was {{}} ms late (p99)"
        yield text, row["slip_p99_ms"], "<=", MOST_SLIP_MS


def _of_overload(document: Mapping[str, Any], parts: Sequence[str]) -> Iterator[Gate]:
    found = document.get("overload", {})
    for part, key in (("overload_v1", "v1"), ("overload_v2", "v2")):
        if part not in parts:
            continue
        row = found[key]
        name = f"overload of /{key}"
        yield f"{name}: refused p99 {{}} ms", row["refused_ms"], "<=", REFUSED_MS
        text = f"{name}: accepted p99 {row['accepted_p99_ms']} / {row['unloaded_p99_ms']} ms = {{}}"
        yield text, row["accepted_p99_ratio"], "<=", ACCEPTED_RATIO
        text = f"{name}: accepted {{}} of the capacity {row['capacity']}/s"
        yield text, row["accepted_of_capacity"], ">=", ACCEPTED_SHARE
        yield f"{name}: {{}} requests without a 200, 202 or 503", row["other"], "==", 0
        yield from _of_probes(name, row)
    if "overload_v2" in parts:
        far, flood = found["v2"]["far"], found["v2"]["flood"]
        yield "3 times the capacity of /v2: {} requests failed", far["other"], "==", 0
        yield "a flood of /v2: the process survives: {}", flood["alive"], "==", True
        yield from _of_probes("a flood of /v2", flood)


def _of_probes(name: str, row: Mapping[str, Any]) -> Iterator[Gate]:
    yield f"{name}: the slowest probe took {{}} ms", row["probes_slowest_ms"], "<=", PROBE_MS
    yield f"{name}: {{}} probes reported unready", row["unready"], "==", 0
    yield f"{name}: the process grew by {{}} MB", row["grown_mb"], "<=", GROWN_MB
