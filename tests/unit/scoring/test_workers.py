"""A worker gets all of its parent's settings, and its own stable name."""

import pickle
from pathlib import Path

from stream_scorer.kafka.topics import client_options
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.settings import load_settings


def test_settings_reach_a_worker_with_secrets_included() -> None:
    settings = load_settings(
        {"kafka": {"bootstrap": "b:1", "password": "p w", "client": {"sasl.username": "u"}}}
    )
    deployment = Deployment("fraud:1.0.0", Path("plan.toml"), "earliest", accept_cold=True)
    sent = pickle.loads(pickle.dumps((settings, deployment)))  # noqa: S301 as a child is given them
    assert sent == (settings, deployment)
    assert client_options.common(sent[0].kafka)["sasl.password"] == "p w"


def test_each_worker_has_its_own_name_and_shares_other_settings() -> None:
    kafka = load_settings({"kafka": {"instance": "a", "static_membership": True}}).kafka
    names = [kafka.worker(number).instance for number in range(3)]
    assert names == ["a/0", "a/1", "a/2"]
    assert kafka.worker(1).model_dump(exclude={"instance"}) == kafka.model_dump(
        exclude={"instance"}
    )
    noting = kafka.model_copy(update={"fenced_file": Path("/run/fenced")})
    assert noting.worker(1).fenced_file == Path("/run/fenced.1")
    assert client_options.member(kafka.worker(1))["group.instance.id"] == "stream-scorer-a/1"
