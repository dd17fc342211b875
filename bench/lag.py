"""Verdicts on consumer groups: right or wrong, how soon, how exact, and what a look costs.

- ``states``, ``right``: twelve states on real brokers, each named in advance; a state is right if
  every look from two intervals after it began has its verdict. ``baselines`` has the states that a
  constant OK and an alert on more than 1,000 records get right.
- ``false_per_hour``: verdicts other than OK of groups that keep up, idle partitions included, per
  hour of observation. ``false`` has the last reason of each. On a busy machine a group does not
  keep up: STALLED is right if its member gets no processor for longer than an interval.
- ``age_error``: 95th percentile of |age - truth| / truth of the oldest waiting record, for ages of
  more than a second. The truth is when the producer sent it.
- ``pass_seconds``: the slowest of five looks at all partitions of a group, after the first.
"""

import math
import sys
import time
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from bench.harness.script import Number, Script, missed, say, table
from bench.lag_steps.scenes import PREFIX
from bench.lag_steps.states import LIVE_STATES, LiveRun, LiveState, run_states
from bench.lag_steps.traffic import commit
from stream_scorer.devkafka import DevKafka
from stream_scorer.lag.verdicts.sample import LagVerdict
from stream_scorer.lag.watch.process import open_passes
from stream_scorer.settings import Kafka, Lag, Settings

STATES = 12
BASELINES_WRONG_LEAST = 6
AGE_ERROR_MOST = 0.1
PASS_SECONDS_MOST = 5.0
_CREATED_AT_ONCE = 100
"""Topics of one request."""
_LOOKS = 5
_HOUR = 3_600.0
_GROUP = "wide"


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
        for verdict in (*each.before, *(verdict for _, verdict in each.after))
    ]
    wrong = sum(verdict is not LagVerdict.OK for verdict in verdicts)
    reasons = {str(verdict): reason for each in run.observed.values()
               for verdict, reason in each.unlike.items()}  # fmt: skip
    return reasons, wrong, len(verdicts) * interval / _HOUR


def slowest_pass(kafka: DevKafka, topics: int, partitions: int) -> float:
    """Return the duration of the slowest look at many partitions, seconds."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    sizes = [partitions // topics + (number < partitions % topics) for number in range(topics)]
    for begin in range(0, topics, _CREATED_AT_ONCE):
        wanted = [
            NewTopic(f"wide-{number}", num_partitions=sizes[number], replication_factor=1)
            for number in range(begin, min(begin + _CREATED_AT_ONCE, topics))
        ]
        for future in admin.create_topics(wanted, request_timeout=120.0).values():
            future.result()
    places = {
        (f"wide-{number}", partition): 0
        for number, size in enumerate(sizes)
        for partition in range(size)
    }
    _wait_until_led(admin, len(places))
    commit(kafka.bootstrap, _GROUP, places)
    with open_passes(settings_of(kafka.bootstrap, _GROUP, 10.0)) as passes:
        passes.run()
        found = [passes.run() for _ in range(_LOOKS)]
    seen = {len(each.judgements) for each in found}
    if seen != {len(places)} or any(each.error for each in found):
        raise RuntimeError(f"{seen} partitions were judged instead of {len(places)}")
    return max(each.seconds for each in found)


def _wait_until_led(admin: AdminClient, partitions: int) -> None:
    """Wait until the brokers have created all partitions."""
    deadline = time.monotonic() + 600.0
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=30.0).topics
        led = [
            partition
            for name, topic in known.items()
            if name.startswith("wide-")
            for partition in topic.partitions.values()
            if partition.leader >= 0
        ]
        if len(led) == partitions:
            return
        time.sleep(1.0)
    raise TimeoutError(f"only {len(led)} of {partitions} partitions have a leader")


def report(runs: list[LiveRun], wrong: int, hours: float, seconds: float) -> dict[str, Any]:
    """Return the bench's report."""
    observed = [each for run in runs for each in run.observed.values()]
    errors = sorted(error for run in runs for error in run.age_errors)
    baselines = {
        name: sum(each.baselines.get(name) is each.state.verdict for each in observed)
        for name in ("constant", "threshold")
    }
    return {
        "states": len(observed),
        "right": sum(each.right for each in observed),
        "false_per_hour": round(wrong / hours, 3),
        "age_error": round(errors[int(len(errors) * 0.95)], 4) if errors else None,
        "pass_seconds": round(seconds, 3),
        "baselines": baselines,
        "healthy_hours": round(hours, 3),
        "ages": len(errors),
        "wrong": {
            each.state.name: [str(verdict) for _, verdict in each.after]
            for each in observed
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
        ("age is off by a share of {}", document["age_error"], "<=", AGE_ERROR_MOST),
        ("a look takes {} s", document["pass_seconds"], "<=", PASS_SECONDS_MOST),
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
        seconds = slowest_pass(kafka, options.topics, options.partitions)
        say("a lost leader")
        lost = lost_leader(kafka, options.interval)
    document = report([states, lost], wrong, hours, seconds) | {"false": reasons}
    rows = [
        (each.state.name, each.state.verdict, "yes" if each.right else "no", each.reason)
        for run in (states, lost)
        for each in run.observed.values()
    ]
    shown = table("States", "state", "verdict", "right", "reason", rows=rows)
    return script.conclude(document, failures(document), shown)


if __name__ == "__main__":
    sys.exit(main())
