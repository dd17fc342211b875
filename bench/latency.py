"""Where does a millisecond go: the age of a decision, by stage, from schedule to reader.

A record's age begins at its scheduled time, even if a slow producer sends it later, and ends when
an independent ``read_committed`` reader gets its decision. The contenders take turns on one Kafka,
in an order that alternates by round; the first seconds of each turn do not count.

- ``ours``: ``stream-scorer run`` with ``fraud:1.1.0``, with ``profile`` and ``monitor``.
- ``bare``: the leanest exactly-once loop that we can build: bytes in, the same bytes out.
- ``bare_neighbours``: the same loop next to the same profiler and monitor. The profiler reads the
  same transactions and labels; the monitor reads a recorded copy of the scorer's summaries.
- ``bare_before``: the floor of ``bench/throughput.py``, which was the bare loop of this bench, from
  the earlier checkout if there is one.
- ``before``: as ``ours``, from an earlier checkout (``--before``).

The highest rate is the greatest of 100, 50 and 20 thousand a second whose producer keeps its
schedule: the 99th percentile of its delay is at most 5 ms.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.harness.arena import Arena
from bench.harness.script import Number, Script, say, table
from bench.latency_steps import traffic, verdict
from bench.latency_steps.stages import PERCENTILES, STAGES
from bench.latency_steps.turn import (
    BARE,
    BEFORE,
    NEIGHBOURS,
    OURS,
    TODAYS,
    TooSlowError,
    Turn,
    Turns,
)

WAYS = (OURS, NEIGHBOURS, BARE, TODAYS)
RATES = (100, 1_000, 5_000, 10_000)
QUICK_RATES = (1_000, 5_000)
HIGHEST = (100_000, 50_000, 20_000)
_WARM_UP_SECONDS = 3.0


def measure(
    rates: tuple[int, ...], rounds: int, seconds: float, before: Path | None, *, highest: bool
) -> list[dict[str, Any]]:
    """Run every rate and way in turn; return the report's rows.

    Args:
        rates: Records a second.
        rounds: Turns of each way at each rate.
        seconds: That count, of each turn.
        before: Root of an earlier checkout; None leaves its way out.
        highest: Whether to look for the highest rate.
    """
    ways = (OURS, BEFORE, *WAYS[1:]) if before is not None else WAYS
    whole = seconds + _WARM_UP_SECONDS
    with Arena() as arena:
        file = arena.directory / "traffic.npz"
        most = round(max(rates + (HIGHEST if highest else ())) * whole)
        traffic.make(most, arena.settings.registry).write(file)
        turns = Turns(arena, file, _WARM_UP_SECONDS, before)
        # A broker that has just started is slow: two turns that do not count. Without that of ours,
        # the first one at 5,000/s was measured at twice the age of the next.
        turns.run(BARE, rates[-1], _WARM_UP_SECONDS + 1)
        turns.run(OURS, rates[-1], whole)
        if highest and (found := _highest(turns, whole)):
            rates = (*rates, found)
        taken: dict[tuple[int, str], list[Turn]] = defaultdict(list)
        for number in range(rounds):
            for rate in rates:
                # The first round records the summaries before the neighbours need them.
                for way in ways if number % 2 == 0 else ways[::-1]:
                    say(f"round {number + 1}: {way} at {rate:,}/s")
                    taken[rate, way].append(turns.run(way, rate, whole))
    return [verdict.row(rate, {way: taken[rate, way] for way in ways}) for rate in rates]


def _highest(turns: Turns, seconds: float) -> int:
    """Return the highest rate whose producer keeps its schedule next to ours; 0 for none."""
    for rate in HIGHEST:
        try:
            if verdict.keeps(turns.run(OURS, rate, seconds)):
                return rate
        except TooSlowError as error:
            say(str(error))
        say(f"{rate:,}/s is too fast for the producer or the scorer here")
    return 0


def _rates(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rates", type=_rates, help="records a second, with commas between")
    parser.add_argument(
        "--before", type=Path, help="root of an earlier checkout, whose scorer runs as well"
    )


def main() -> int:
    script = Script(
        __doc__, "two rates, one round, few seconds", more=_options,
        rates=Number(RATES, QUICK_RATES), rounds=Number(3, 1, "interleaved rounds"),
        seconds=Number(10.0, 3.0, "measured seconds of each turn"),
    )  # fmt: skip
    options = script.options
    highest = options.rates == RATES
    before = options.before.resolve() if options.before else None
    rows = measure(options.rates, options.rounds, options.seconds, before, highest=highest)
    document = {"rates": rows, "seconds": script.seconds}
    return script.conclude(document, verdict.failures(rows), *_shown(rows))


def _shown(rows: list[dict[str, Any]]) -> list[Any]:
    ways = [way for way in (*WAYS, BEFORE) if f"{way}_p50_ms" in rows[0]]
    shown = [
        table(
            "Age of a decision, ms",
            "events/s", "contender", *PERCENTILES, "producer's slip p99",
            rows=(
                (
                    each["rate"], way, *(each[f"{way}_{name}_ms"] for name in PERCENTILES),
                    each["producer_slip_p99_ms"][way],
                )
                for each in rows
                for way in ways
            ),
        )
    ]  # fmt: skip
    shown += [
        table(
            f"Stages of that age, {way}: p50 / p99, ms",
            "events/s", *STAGES,
            rows=(
                (
                    each["rate"],
                    *(f"{at['p50']:.1f} / {at['p99']:.1f}" for at in each["stages"][way].values()),
                )
                for each in rows
            ),
        )
        for way in (OURS, NEIGHBOURS, BARE)
    ]  # fmt: skip
    return shown


if __name__ == "__main__":
    sys.exit(main())
