"""Planned changes under load: restarts of static members, and another group protocol."""

from confluent_kafka import ConsumerGroupType

from stream_scorer.settings import Kafka
from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.process import ScorerProcess, wait_until

_REBALANCES = "stream_scorer_rebalances_total"
_SESSION_MS = 45_000
# Kafka's own default. Any other value is refused with the new protocol, because it has no effect.
_BROKERS_TO_SAY = Kafka.model_fields["session_timeout_ms"].default


def _share_alike(stage: Stage, *scorers: ScorerProcess) -> None:
    share = stage.partitions / len(scorers)
    wait_until(
        lambda: all(stage.assigned(scorer) == share for scorer in scorers),
        lambda: f"all have the same share: {stage.said}",
    )


@kind("group")
def static_membership_restart(stage: Stage) -> None:
    """A static member is stopped and started, then killed and started: no other partition moves."""
    stage.settle(static_membership=True, session_timeout_ms=_SESSION_MS)
    other = stage.start()
    member = stage.scorer(instance="1")
    _share_alike(stage, other, member)
    moved = other.metric(_REBALANCES)
    stage.stop(member)
    member = stage.scorer(instance="1")
    _share_alike(stage, other, member)
    stage.wait_decided(200)
    member.kill()
    member = stage.scorer(instance="1")
    _share_alike(stage, other, member)
    assert other.metric(_REBALANCES) == moved, other.said
    stage.fired(2, "restarts; the member had its partitions again, and no other partition moved")
    stage.fault_over()
    stage.finish()


@kind("group")
def rolling_switch(stage: Stage) -> None:
    """Two instances change from the classic protocol to KIP-848, one after the other."""
    old = [stage.start(), stage.scorer(instance="1")]
    _share_alike(stage, *old)
    assert stage.group_type() == ConsumerGroupType.CLASSIC
    stage.settle(group_protocol="consumer", session_timeout_ms=_BROKERS_TO_SAY)
    stage.stop(old[0])
    first = stage.scorer(wait=False)
    wait_until(lambda: _waits(first), lambda: f"it waits for the classic member: {stage.said}")
    stage.wait_decided(200)
    stage.stop(old[1])
    stage.fault_over()
    first.wait_ready()
    second = stage.scorer(instance="1")
    _share_alike(stage, first, second)
    assert stage.group_type() == ConsumerGroupType.CONSUMER
    stage.fired(2, "instances under KIP-848 where the broker had reported a classic group")
    stage.finish()


def _waits(scorer: ScorerProcess) -> bool:
    _, reasons = scorer.probe()
    return any(reason.startswith("paused: group:") for reason in reasons)
