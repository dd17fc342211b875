"""Faults under requests: of gateways, of scorers and brokers behind them, and of clients."""

import signal

from tests.faults.suite.gateways.gateways import Gateways
from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.process import wait_until
from tests.support.faults.proxy import Api

_KILLS = 20
_LEAST, _MOST = 1, 40
"""Limits for the number of decided requests between two faults."""
_UP = "Kafka Server started"
_ROUNDS = 8
_LOST_AT_ONCE = 4
_LEFT = 60


def _some(stage: Stage) -> int:
    return stage.random.randint(_LEAST, _MOST)


@kind("gateway")
def gateway_kills(stage: Stage) -> None:
    """SIGKILL twenty times at random moments under load: one of two gateways."""
    with Gateways(stage) as gateways:
        gone = 0
        for _ in range(_KILLS):
            gateways.wait_decided(_some(stage))
            gone += gateways.kill()
        stage.fired(gone, "SIGKILL of a gateway that was ready, each after further answers")
        gateways.finish()


@kind("gateway")
def gateway_scorer_kills(stage: Stage) -> None:
    """SIGKILL of the scorer twenty times under requests to two gateways."""
    with Gateways(stage) as gateways:
        gone = 0
        for _ in range(_KILLS):
            gateways.wait_decided(_some(stage))
            gateways.note_fault()
            gateways.scorer.kill()
            gone += gateways.scorer.wait() == -signal.SIGKILL
            gateways.scorer = stage.scorer(wait=False)
        stage.fired(gone, "SIGKILL of the scorer, each after further answers")
        gateways.finish()


@kind("gateway", cluster="three")
def gateway_broker_bounces(stage: Stage) -> None:
    """Each of three brokers is restarted under requests, gracefully and by SIGKILL."""
    before = stage.ground.broker_said(_UP)
    with Gateways(stage) as gateways:
        for number, broker in enumerate(stage.ground.kafka.brokers * 2):
            gateways.wait_decided(_some(stage))
            gateways.note_fault()
            if number % 2:
                broker.kill()
            broker.restart()
        stage.fired(stage.ground.broker_said(_UP) - before, "starts in the brokers' logs")
        gateways.finish()


@kind("gateway")
def gateway_answers_lost(stage: Stage) -> None:
    """Answers are lost on their way: from a gateway to its client, from the broker to a gateway."""
    sender = f"{stage.kafka.group}-serve"
    with Gateways(stage, doors=True) as gateways:
        broken = 0
        for _ in range(_ROUNDS):
            gateways.wait_decided(_some(stage))
            before = sum(door.lost for door in gateways.doors)
            for door in gateways.doors:
                door.lose(_LOST_AT_ONCE)
            goal = before + _LOST_AT_ONCE * len(gateways.doors)
            wait_until(
                lambda goal=goal: sum(door.lost for door in gateways.doors) == goal,  # type: ignore[misc]
                lambda: f"the answers are lost: {gateways.said}",
            )
            gateways.wait_decided(_some(stage))
            gateways.note_fault()
            answer = stage.proxy.fault(Api.PRODUCE, "answer", client=sender)
            wait_until(answer.hit.is_set, lambda: f"a gateway has produced: {gateways.said}")
            # The broker has the record, and its producer does not know it.
            stage.proxy.reset()
            stage.proxy.forget(answer)
            broken += 1
        lost = sum(door.lost for door in gateways.doors)
        stage.fired(lost, "answers that did not reach their clients, counted on the way")
        stage.fired(broken, "acknowledgements of a gateway's record lost, then all connections")
        gateways.finish()


@kind("gateway", quick=True)
def gateway_clients_gone(stage: Stage) -> None:
    """Clients leave: before the end of their request, or before its answer."""
    with Gateways(stage, leaving=True) as gateways:

        def left() -> bool:
            gateways.supervise()
            return all(
                len(each.left) >= _LEFT and each.unsent >= _LEFT // 4 for each in gateways.leavers
            )

        wait_until(left, lambda: f"clients have left: {gateways.said}", 240.0)
        unsent = sum(each.unsent for each in gateways.leavers)
        gateways.finish()
        stage.fired(gateways.decided_of_leavers(), "decisions for clients that had left, by topic")
        stage.fired(unsent, "requests without the end of their body")
