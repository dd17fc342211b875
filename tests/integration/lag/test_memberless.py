"""Groups that never had a member, by a real broker."""

from collections.abc import Callable

import pytest

from bench.lag_steps.traffic import Input, Member, commit
from stream_scorer.lag.broker.group_offsets import GroupOffsets
from stream_scorer.lag.verdicts.sample import LagVerdict
from stream_scorer.lag.watch.process import open_passes
from stream_scorer.settings import Kafka, Lag, Replay, Settings
from tests.support.faults.process import wait_until

pytestmark = pytest.mark.kafka


def test_members_that_left_have_been_there(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_topics(kafka_settings())
    topic, joined = settings.topics.transactions, settings.group
    never = f"{joined}-never"
    with GroupOffsets(settings, [joined, never], 5.0) as groups:
        with Member(settings.bootstrap, topic, joined):
            wait_until(lambda: groups.members([joined])[joined].members == 1, "a member")
        for group in (joined, never):
            commit(settings.bootstrap, group, {(topic, 0): 0})
        wait_until(lambda: groups.members([joined])[joined].members == 0, "no member")
        found = groups.members([joined, never, f"{joined}-absent"])
    memberless = {group: look.memberless for group, look in found.items()}
    assert memberless == {joined: False, never: True, f"{joined}-absent": False}


def test_dead_letters_wait_for_a_replay_without_an_alarm(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    at = (kafka.topics.dead_letters, 0)
    replay, other = f"{kafka.group}-replay", f"{kafka.group}-profiler"
    with Input(kafka.bootstrap) as source:
        source.send(at[0], 10)
    for group in (replay, other):
        commit(kafka.bootstrap, group, {at: 0})
    lag = Lag(groups=[replay, other], interval_seconds=1.0, request_seconds=5.0)
    settings = Settings(kafka=kafka, lag=lag, replay=Replay(group=replay))
    with open_passes(settings) as passes:
        wait_until(lambda: passes.run().worst().get(other) is LagVerdict.STOPPED, "a verdict")
        judgement = passes.snapshot.judgements[replay, at]
    assert (judgement.verdict, judgement.to_stable) == (LagVerdict.OK, 10)
