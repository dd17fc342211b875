"""A model that needs more history than there is waits, is rebuilt, or is accepted cold."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stream_scorer.errors import NotWarmError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import MODELS_DIRECTORY, Kafka
from stream_scorer.telemetry import ColdAccepted
from tests.integration.state.test_commands import Group
from tests.support.faults.reference_run import feed, transactions
from tests.support.state.stage import live, restored_only, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

_DAY_MS = 86_400_000
MONTHLY = ("CUSTOMER_ID_NB_TX_30DAY_WINDOW", "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW")


def test_a_longer_memory_waits_for_history(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    ours = kafka_topics(kafka_settings(session_timeout_ms=6_000))
    ends = feed(ours, transactions(days=40, customers=40))
    settings = settings_of(ours)
    life = live(settings, ends)
    watermark = max(life.work.rings.of(p).watermark for p in range(4))

    # More lateness makes the windows reach further back than the stored events.
    plan = tmp_path / "plan.toml"
    text = (MODELS_DIRECTORY / "fraud" / "plan.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("lateness_ms")]
    plan.write_text("\n".join([f"lateness_ms = {2 * _DAY_MS}", *lines]))
    longer = Deployment("fraud:1.0.0", plan=plan)
    with pytest.raises(NotWarmError) as raised:
        restored_only(settings, deployment=longer)
    assert raised.value.exit_code == 10
    assert all(name in raised.value.what for name in MONTHLY)
    assert "can serve from event time 2018-05-1" in raised.value.what

    cold = restored_only(settings, deployment=replace(longer, accept_cold=True))
    told = cold.heard.of(ColdAccepted)
    assert {each.partition for each in told} == {0, 1, 2, 3}
    for each in told:
        assert each.features == MONTHLY
        assert watermark - _DAY_MS < each.warm_from_ms < watermark + 2 * _DAY_MS

    # A restart does not accept it either; a rebuild fixes it.
    with pytest.raises(NotWarmError):
        restored_only(settings, deployment=longer)
    Group(ours, ends, life, "").run("rebuild", "--model", "fraud:1.0.0", "--plan", plan)
    warm = restored_only(settings, deployment=longer)
    assert warm.heard.of(ColdAccepted) == []
