"""A version with more features is served immediately if its fields are stored, else warmed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_scorer.errors import NotWarmError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import MODELS_DIRECTORY, Kafka, Models, Settings
from stream_scorer.telemetry import ModelWarming
from tests.support.faults.reference_run import feed, transactions
from tests.support.models.noise_bundles import AMOUNT, FIELD, LONGER, STORED, write
from tests.support.state.stage import live, restored_only, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

_DAY_MS = 86_400_000


@pytest.fixture
def settings(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> Settings:
    shutil.copytree(MODELS_DIRECTORY / "fraud", tmp_path / "fraud")
    write(tmp_path, "1.2.0", (AMOUNT, STORED))
    write(tmp_path, "1.3.0", (AMOUNT, LONGER, FIELD))
    ours = settings_of(kafka_topics(kafka_settings(session_timeout_ms=6_000)))
    return ours.model_copy(update={"models": Models(directory=tmp_path)})


def test_new_versions_are_served_or_warmed_by_what_they_need(settings: Settings) -> None:
    ends = feed(settings.kafka, transactions(days=20, customers=40))
    watermark = {}
    life = live(settings, ends, model="fraud:1.0.0")
    for partition in life.work.rings.partitions():
        watermark[partition] = life.work.rings.of(partition).watermark

    # A new aggregate of stored fields needs no code and no backfill.
    restored_only(settings, deployment=Deployment(model="fraud:1.2.0"))

    # A longer window or a further field does: alone, the version exits and names the date.
    with pytest.raises(NotWarmError) as raised:
        restored_only(settings, deployment=Deployment(model="fraud:1.3.0"))
    assert raised.value.exit_code == 10
    assert "COUNT_45D, TERMINALS_7D have too little history" in raised.value.what

    # Next to the first version it is warmed, and the date from which it can serve is reported.
    both = Deployment(model="fraud:1.0.0", warm="fraud:1.3.0")
    warmed = restored_only(settings, deployment=both)
    told = {each.partition: each for each in warmed.heard.of(ModelWarming)}
    assert told.keys() == watermark.keys()
    for partition, each in told.items():
        assert (each.model, each.version) == ("fraud", "1.3.0")
        assert each.features == ("COUNT_45D", "TERMINALS_7D")
        until = each.warm_from_ms - watermark[partition]
        assert 7 * _DAY_MS < until < 46 * _DAY_MS
    rings = warmed.work.rings.of(0)
    assert rings.fields == ("terminal_id",)
    assert rings.retention.horizon_ms > 45 * _DAY_MS
