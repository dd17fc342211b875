"""Of two processes with one name, the first exits with the error for fencing at any stage."""

from collections.abc import Callable

import pytest

from stream_scorer.errors import FencedError
from stream_scorer.kafka.loop.producer import TransactionalProducer
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.scoring.process import scorer_loop
from stream_scorer.settings import Kafka, Scorer, Settings
from tests.support.faults.reference_run import BATCH, feed, transactions

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    "stage",
    ["send", *(pytest.param(s, marks=pytest.mark.thorough) for s in ("wait", "begin", "offsets"))],
)
def test_a_fenced_scorer_leaves_with_the_error_of_the_fenced(
    stage: str, kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    feed(kafka, transactions()[:1_000])
    others: list[TransactionalProducer] = []

    def hook(name: str) -> None:
        if name == stage and not others:
            others.append(TransactionalProducer(kafka, kafka.group, lambda _: None))

    settings = Settings(kafka=kafka, scorer=Scorer(maximum_batch=BATCH))
    loop, _ = scorer_loop(
        settings, Deployment("fraud:1.0.0", start="earliest"), lambda _: None, hook
    )
    with pytest.raises(FencedError, match="was taken over by another process") as fenced:
        loop.run()
    assert fenced.value.exit_code == 6
    others[0].close()
