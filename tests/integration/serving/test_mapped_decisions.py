"""A request with a user's own record: encoded by its schema, mapped and decided."""

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.codec.records.record import RecordDecoder
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.serving.decisions.service import DecisionService
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import Kafka, Registry, Settings
from tests.support.codec.foreign_events import FOREIGN_ID, plan_of_foreign, with_foreign_schema
from tests.support.faults.process import ScorerProcess
from tests.support.serving.fake_scorers import request

pytestmark = pytest.mark.kafka


def payment(**changed: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    after = {
        "payment_no": "p1", "shopper": {"no": "c1"}, "till": "s", "paid": "12.50", "iso": "EUR",
        "via": "web", **changed,
    }  # fmt: skip
    return {"op": "c", "ts": now, "after": after}


def test_a_users_own_record_is_decided(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    plan, schemas = plan_of_foreign(tmp_path), with_foreign_schema(tmp_path)
    files = FileRegistry(schemas)
    (entry,) = [each for each in files.entries if each.schema_id == FOREIGN_ID]
    own = {"timeout_ms": 20_000, "subject": entry.subject, "version": entry.version}
    settings = Settings(
        kafka=kafka, registry=Registry(directory=schemas), serving={"decisions": own}
    )  # fmt: skip
    variables = {"STREAM_SCORER_REGISTRY__DIRECTORY": str(schemas)}
    options = ("--from", "earliest", "--model", "fraud:1.0.0", "--plan", str(plan))

    async def scenario() -> None:
        deployment = Deployment("fraud:1.0.0", plan=plan)
        async with DecisionService(settings, deployment, lambda _: None) as service:

            async def ask(sent: Any) -> Any:
                response = await service.ask(request(sent, arrived=time.perf_counter()))
                assert response.status == 200
                return json.loads(response.body)

            sent = payment()
            found = await ask(sent)
            assert (found["transaction_id"], found["customer_id"]) == ("p1", "c1")
            assert (found["amount_minor"], found["channel"]) == (1_250, "ECOM")
            assert await ask(json.dumps(sent, indent=3).encode()) == found
            for wrong, reason, path in (
                (payment(paid=12.5), "SCHEMA", "after.paid"),
                (payment(via="pigeon"), "MAPPING", "after.via"),
                (payment(paid="-1"), "AMOUNT_NEGATIVE", "after.paid"),
                ({**sent, "op": "d"}, "SKIPPED", ""),
            ):
                with pytest.raises(Problem) as raised:
                    await ask(wrong)
                members = raised.value.members
                assert (members["reason"], members["path"]) == (reason, path)

    with ScorerProcess(kafka, tmp_path / "log", *options, variables=variables) as scorer:
        scorer.wait_ready()
        asyncio.run(scenario())
    (message,) = read_all(kafka, kafka.topics.transactions)
    assert message.key() == b"c1"
    record = RecordDecoder(files).decode(message.value())
    assert (record["after"]["payment_no"], record["after"]["mcc"]) == ("p1", None)
