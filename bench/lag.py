"""Verdicts on consumer groups: right or wrong, how soon, how exact, and what a look costs.

- ``states``, ``right``: twelve states on real brokers, each named in advance; a state is right if
  every look from two intervals after it began has its verdict. Of the four states that are OK every
  look counts, and in the burst records must wait in two looks at least. ``skew_error``: the error
  of ``skew_seconds`` where a producer's clock is 120 s fast; the state is right only if it is 5 s
  at most. A timestamp is that of sending: the time until the append was acknowledged is no error.
- ``baselines``: the states that a constant OK and an alert on more than 1,000 records get right,
  judged on the same looks by the same rule. The alert names one verdict, SLOW.
- ``false_per_hour``: verdicts other than OK of groups that keep up, idle partitions included, per
  hour of observation. ``false`` has the last reason of each. On a busy machine a group does not
  keep up: STALLED is right if its member gets no processor for longer than an interval.
- ``age_error``: 95th percentile of |age - truth| / truth of the oldest waiting record, for ages of
  more than a second. In truth the record was appended between its sending and the
  acknowledgement; an age in between has no error. ``age_errors`` has the median and the maximum,
  too; the gate is on the maximum. ``ages_unknown`` counts the records without an age.
- ``pass_seconds``: the slowest of all passes over a group that has committed in each partition of
  many topics, where one member owns all and a record waits in each. Among them are the first pass,
  which connects, and those that ask all partitions of the cluster for the group's offsets: the
  first, and one a minute. ``passes`` has the first, and the median and slowest of the others. A
  pass is ``incomplete`` if it did not report the record and the owner of each partition; no pass
  may be. ``reason`` is that of the last one.
"""

import math
import sys
from typing import Any

import numpy as np

from bench.harness.script import Number, Script, missed, say, table
from bench.lag_steps.baselines import BASELINES
from bench.lag_steps.scenes import PREFIX
from bench.lag_steps.states import (
    LIVE_STATES,
    SKEW_ERROR_MOST,
    SKEWED,
    LiveRun,
    LiveState,
    run_states,
)
from bench.lag_steps.wide import GROUP, Owner, PassTimes, create_wide, time_passes
from stream_scorer.devkafka import DevKafka
from stream_scorer.lag.verdicts.sample import LagVerdict
from stream_scorer.lag.watch.process import open_passes
from stream_scorer.settings import Kafka, Lag, Settings

STATES = 12
BASELINES_WRONG_LEAST = 6
AGE_ERROR_MOST = 0.1
PASS_SECONDS_MOST = 5.0
_HOUR = 3_600.0


def settings_of(bootstrap: str, group: str, interval: float) -> Settings:
    """Return settings that watch groups."""
    return Settings(
        kafka=Kafka(bootstrap=bootstrap, group="bench-lag"),
        lag=Lag(groups=[group], interval_seconds=interval, request_seconds=5.0),
    )


def lost_leader(kafka: DevKafka, interval: float) -> LiveRun:
    """Return the twelfth state: the broker that leads a topic is killed."""
    gone = kafka.brokers[-1]
    state = LiveState("leader lost", LagVerdict.UNKNOWN, lambda _: gone.kill())
    with open_passes(settings_of(kafka.bootstrap, f"{PREFIX}*", interval)) as passes:
        return run_states([state], kafka.bootstrap, passes, interval, leader=gone.node)


def false_verdicts(
    kafka: DevKafka, interval: float, seconds: float
) -> tuple[dict[str, str], int, float]:
    """Return reasons of verdicts other than OK of healthy groups, their number, and the hours."""
    quiet = [LiveState(f"quiet {number}", LagVerdict.OK, lambda _: None) for number in range(3)]
    looks = math.ceil(seconds / interval)
    with open_passes(settings_of(kafka.bootstrap, f"{PREFIX}quiet*", interval)) as passes:
        run = run_states(quiet, kafka.bootstrap, passes, interval, looks=looks, idle=True)
    verdicts = [
        verdict
        for each in run.observed.values()
        for verdict in (*each.before, *(look.verdict for look in each.after))
    ]
    wrong = sum(verdict is not LagVerdict.OK for verdict in verdicts)
    reasons = {str(verdict): reason for each in run.observed.values()
               for verdict, reason in each.unlike.items()}  # fmt: skip
    return reasons, wrong, len(verdicts) * interval / _HOUR


def wide_passes(kafka: DevKafka, topics: int, partitions: int, seconds: float) -> PassTimes:
    """Return how long passes over many partitions take; see ``lag_steps.wide``."""
    places = create_wide(kafka.bootstrap, topics, partitions)
    settings = settings_of(kafka.bootstrap, GROUP, 10.0)
    with Owner(kafka.bootstrap, partitions), open_passes(settings) as passes:
        return time_passes(passes, places, seconds)


def report(runs: list[LiveRun], wrong: int, hours: float, passes: PassTimes) -> dict[str, Any]:
    """Return the bench's report."""
    observed = {name: each for run in runs for name, each in run.observed.items()}
    errors = [error for run in runs for error in run.age_errors]
    shares = {"p50": 50, "p95": 95, "max": 100}
    ages = {
        name: round(float(np.percentile(errors, share, method="higher")), 4) if errors else None
        for name, share in shares.items()
    }
    baselines = {
        name: sum(each.is_named_by_lag(judge) for each in observed.values())
        for name, judge in BASELINES.items()
    }
    skewed = observed.get(SKEWED)
    return {
        "states": len(observed),
        "right": sum(each.right for each in observed.values()),
        "false_per_hour": round(wrong / hours, 3),
        "age_error": ages["p95"],
        "pass_seconds": max(passes.first, passes.slowest),
        "skew_error": None if skewed is None else skewed.skew_error,
        "baselines": baselines,
        "healthy_hours": round(hours, 3),
        "passes": passes._asdict(),
        "ages": len(errors),
        "age_errors": ages,
        "ages_unknown": sum(run.ages_unknown for run in runs),
        "wrong": {
            name: [str(look.verdict) for look in each.after]
            for name, each in observed.items()
            if not each.right
        },
    }


def failures(document: dict[str, Any]) -> list[str]:
    """Return the gates that fail."""
    most = STATES - BASELINES_WRONG_LEAST
    return missed(
        ("{} states", document["states"], "==", STATES),
        ("{} states are right", document["right"], "==", STATES),
        ("{} false verdicts an hour", document["false_per_hour"], "==", 0.0),
        ("95 % of ages are off by {} at most", document["age_error"], "<=", AGE_ERROR_MOST),
        ("an age is off by {}", document["age_errors"]["max"], "<=", AGE_ERROR_MOST),
        ("the skew is off by {} s", document["skew_error"], "<=", SKEW_ERROR_MOST),
        ("a pass takes {} s", document["pass_seconds"], "<=", PASS_SECONDS_MOST),
        ("{} passes are incomplete", document["passes"]["incomplete"], "==", 0),
        ("a constant OK gets {} states right", document["baselines"]["constant"], "<=", most),
        ("a threshold gets {} states right", document["baselines"]["threshold"], "<=", most),
    )


def main() -> int:
    """Run the bench."""
    script = Script(
        __doc__,
        "Looks every 2 s, 20 s of healthy groups, 1,000 partitions.",
        interval=Number(10.0, 2.0, "seconds between two looks"),
        healthy=Number(_HOUR, 20.0, "seconds for which healthy groups are watched"),
        topics=Number(700, 70, "topics of the wide group"),
        partitions=Number(10_000, 1_000, "partitions of the wide group"),
        passes=Number(75.0, 0.0, "seconds of passes over them"),
    )
    options = script.options
    with DevKafka(3) as kafka:
        say("eleven states")
        settings = settings_of(kafka.bootstrap, f"{PREFIX}*", options.interval)
        with open_passes(settings) as passes:
            states = run_states(LIVE_STATES, kafka.bootstrap, passes, options.interval)
        say("healthy groups")
        reasons, wrong, hours = false_verdicts(kafka, options.interval, options.healthy)
        say("many partitions")
        wide = wide_passes(kafka, options.topics, options.partitions, options.passes)
        say("a lost leader")
        lost = lost_leader(kafka, options.interval)
    document = report([states, lost], wrong, hours, wide) | {"false": reasons}
    rows = [
        (each.state.name, each.state.verdict, "yes" if each.right else "no", each.reason)
        for run in (states, lost)
        for each in run.observed.values()
    ]
    shown = table("States", "state", "verdict", "right", "reason", rows=rows)
    return script.conclude(document, failures(document), shown)


if __name__ == "__main__":
    sys.exit(main())
