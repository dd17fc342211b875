"""Which groups never had a member, by a real broker."""

from collections.abc import Callable

import pytest

from bench.lag_steps.traffic import Member, commit
from stream_scorer.lag.broker.group_offsets import GroupOffsets
from stream_scorer.settings import Kafka
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
