"""Decisions in the call with a broker and a scorer process: each 200 is a published decision."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.client import DecisionTopic
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.decisions.service import DecisionService
from stream_scorer.serving.web.messages import Request, Response
from stream_scorer.serving.web.problems import Problem
from stream_scorer.settings import Kafka, Settings
from stream_scorer.telemetry import Event, ProvisionalSettled, WindowRebuilt
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.serving.fake_scorers import request

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[3]
SECONDS = 60.0
HOUR_MS = 3_600_000


class Grounds:
    """A cluster with a scorer, and gateways to it."""

    def __init__(self, kafka: Kafka, scorer: ScorerProcess) -> None:
        self.kafka = kafka
        self.scorer = scorer
        self.heard: list[Event] = []
        self._number = 0

    def settings(self, **decisions: Any) -> Settings:
        own = {"timeout_ms": 20_000, **decisions}
        return Settings(kafka=self.kafka, serving={"decisions": own})

    def gateway(self, plan: Path | None = None, **decisions: Any) -> DecisionService:
        deployment = Deployment("fraud:1.0.0", plan=plan)
        return DecisionService(self.settings(**decisions), deployment, self.heard.append)

    def body(self, **changed: Any) -> dict[str, Any]:
        self._number += 1
        return {
            "transaction_id": f"t{self._number}", "event_time": time.time_ns() // 1_000_000,
            "customer_id": f"c{self._number}", "terminal_id": "s", "amount_minor": 1_250,
            "currency": "EUR", **changed,
        }  # fmt: skip

    def stop_scorer(self) -> None:
        os.kill(self.scorer.pid, signal.SIGSTOP)

    def continue_scorer(self) -> None:
        os.kill(self.scorer.pid, signal.SIGCONT)

    def published(self, transaction_id: str) -> list[Any]:
        topic = DecisionTopic(
            bootstrap=self.kafka.bootstrap, topic=self.kafka.topics.decisions
        )  # fmt: skip
        return [each for each in topic.records() if each.transaction_id == transaction_id]


@pytest.fixture(scope="module")
def shared(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Grounds]:  # fmt: skip
    # A stopped scorer stays in its group.
    kafka = kafka_topics(kafka_settings(session_timeout_ms=60_000))
    output = tmp_path_factory.mktemp("scorer") / "log"
    with ScorerProcess(kafka, output, "--from", "earliest") as scorer:
        scorer.wait_ready()
        yield Grounds(kafka, scorer)


@pytest.fixture
def grounds(shared: Grounds) -> Iterator[Grounds]:
    shared.heard.clear()
    yield shared
    shared.continue_scorer()


def asked(sent: Any, client: str = "shop", **more: Any) -> Request:
    return request(sent, client, arrived=time.perf_counter(), **more)


def fetching(key: str, client: str = "shop", query: str = "") -> Request:
    return request(b"", client, method="GET", parameters={"id": key}, query=query)


def document(response: Response, status: int = 200) -> dict[str, Any]:
    assert response.status == status, response.body
    found: dict[str, Any] = json.loads(response.body)
    return found


async def problem(answer: Awaitable[Response]) -> Problem:
    with pytest.raises(Problem) as raised:
        await answer
    return raised.value


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def delivered(service: DecisionService) -> bool:
    return len(service.gateway.correlation._by_place) > 0


def test_the_answer_is_the_published_decision(grounds: Grounds) -> None:
    sent = grounds.body()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def scenario() -> dict[str, Any]:
        async with grounds.gateway() as service:
            assert service.ready()
            response = await service.ask(asked(sent, traceparent=trace, tracestate="k=v"))
            found = document(response)
            again = await service.ask(asked(sent))
            assert again.body == response.body
            other = await problem(service.ask(asked({**sent, "amount_minor": 1})))
            assert (other.status, other.kind) == (409, "another-body")
            batch = await service.ask(asked([sent, grounds.body(), grounds.body()]))
            assert [each["status"] for each in document(batch)["answers"]] == [200, 200, 200]
            return found

    found = asyncio.run(scenario())
    (decision,) = grounds.published(sent["transaction_id"])
    assert found["decision"] == decision.outcome
    assert found["score"] == decision.score
    assert found["features"] == list(decision.features.values())
    assert (found["source_partition"], found["source_offset"]) == (
        decision.source_partition, decision.source_offset,
    )  # fmt: skip
    records = {
        (m.partition(), m.offset()): m
        for m in read_all(grounds.kafka, grounds.kafka.topics.decisions)
    }
    headers = dict(records[decision.partition, decision.offset].headers())
    assert headers["traceparent"] == trace.encode()
    assert headers["tracestate"] == b"k=v"
    assert headers["scorer-client"] == b"shop"
    assert any(isinstance(event, WindowRebuilt) for event in grounds.heard)


def test_a_new_gateway_answers_repeats_and_only_the_sender(grounds: Grounds) -> None:
    sent = grounds.body()

    async def scenario() -> None:
        async with grounds.gateway() as service:
            first = await service.ask(asked(sent))
        async with grounds.gateway() as service:
            key = document(first)["id"]
            assert (await service.fetch(fetching(key))).body == first.body
            assert (await problem(service.fetch(fetching(key, "thief")))).status == 404
            assert (await service.ask(asked(sent))).body == first.body
            # A value that the decision does not repeat is compared, too.
            other = await problem(service.ask(asked({**sent, "mcc": "5411"})))
            assert (other.status, other.kind) == (409, "another-body")

    asyncio.run(scenario())
    assert len(grounds.published(sent["transaction_id"])) == 1


@pytest.mark.parametrize("late", [False, True])
def test_two_gateways_at_once_give_one_answer(grounds: Grounds, late: bool) -> None:  # noqa: FBT001 a parameter of the test
    sent = grounds.body()

    async def scenario() -> None:
        async with grounds.gateway() as one, grounds.gateway() as two:
            if late:
                # The customer's newest event is two hours later than what is sent then.
                await one.ask(asked({**sent, "transaction_id": f"{sent['transaction_id']}-now"}))
                sent["event_time"] -= 2 * HOUR_MS
            grounds.stop_scorer()
            tasks = [asyncio.create_task(each.ask(asked(sent))) for each in (one, two)]
            await until(lambda: delivered(one) and delivered(two))
            grounds.continue_scorer()
            first, second = [await task for task in tasks]
            assert first.body == second.body
            document(first)
            assert (await two.ask(asked(sent))).body == first.body

    asyncio.run(scenario())
    decisions = grounds.published(sent["transaction_id"])
    assert len(decisions) == (2 if late else 1)
    if late:
        assert all("late" in each.flags for each in decisions)


def test_a_late_event_gets_the_first_of_its_decisions(grounds: Grounds) -> None:
    sent = grounds.body()

    async def scenario() -> tuple[int, int]:
        async with grounds.gateway() as service:
            await service.ask(asked({**sent, "transaction_id": f"{sent['transaction_id']}-now"}))
            sent["event_time"] -= 2 * HOUR_MS
            first = document(await service.ask(asked(sent)))
        async with grounds.gateway() as service:
            again = document(await service.ask(asked(sent)))
        return first["source_offset"], again["source_offset"]

    first, again = asyncio.run(scenario())
    assert first == again


def test_without_a_decision_in_time_it_can_be_fetched_later(grounds: Grounds) -> None:
    sent = grounds.body()

    async def scenario() -> None:
        async with grounds.gateway(timeout_ms=200) as service, grounds.gateway() as other:
            grounds.stop_scorer()
            found = document(await service.ask(asked(sent)), 202)
            assert found["provisional_outcome"] == "REVIEW"
            key = found["id"]
            document(await service.fetch(fetching(key)), 202)
            # Another gateway finds it by the place in the location.
            query = found["location"].partition("?")[2]
            document(await other.fetch(fetching(key, query=query)), 202)
            assert (await problem(other.fetch(fetching(key, "thief", query)))).status == 404
            assert (await problem(service.fetch(fetching(key, "thief")))).status == 404
            grounds.continue_scorer()
            await until(lambda: len(service.gateway.correlation) == 0)
            decided = document(await service.fetch(fetching(key)))
            assert (await problem(service.fetch(fetching(key, "thief")))).status == 404
            assert ProvisionalSettled("REVIEW", decided["decision"]) in grounds.heard

    asyncio.run(scenario())
    assert len(grounds.published(sent["transaction_id"])) == 1


def test_a_scorers_rejection_is_answered_and_forgotten(grounds: Grounds, tmp_path: Path) -> None:
    sent = grounds.body(currency="USD")
    (tmp_path / "plan.toml").write_text("[currencies]\nUSD = 2\n")

    async def scenario() -> None:
        # This gateway's plan accepts what the scorer's plan rejects.
        async with grounds.gateway(plan=tmp_path / "plan.toml") as service:
            for _ in range(2):
                found = await problem(service.ask(asked(sent)))
                assert (found.status, found.members["reason"]) == (422, "CURRENCY")
        async with grounds.gateway() as service:
            before = await problem(service.ask(asked(sent)))
            assert (before.status, before.members["reason"]) == (422, "CURRENCY")
            document(await service.ask(asked({**sent, "currency": "EUR"})))

    asyncio.run(scenario())
    letters = read_all(grounds.kafka, grounds.kafka.topics.dead_letters)
    mine = [m for m in letters if (m.key() or b"").decode() == sent["customer_id"]]
    assert len(mine) == 2


def test_a_duplicate_older_than_the_window_is_a_conflict(
    grounds: Grounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = grounds.body()

    async def scenario() -> None:
        async with grounds.gateway() as service:
            document(await service.ask(asked(sent)))
        module = "stream_scorer.serving.decisions.wiring._now_ms"
        later = time.time_ns() // 1_000_000 + 2 * HOUR_MS
        monkeypatch.setattr(module, lambda: later)
        async with grounds.gateway() as service:
            found = await problem(service.ask(asked(sent)))
            assert (found.status, found.kind) == (409, "already-decided")

    asyncio.run(scenario())


def test_a_killed_gateways_transaction_is_answered_by_another(
    grounds: Grounds, tmp_path: Path
) -> None:
    sent = grounds.body()
    settings = grounds.settings(timeout_ms=2_000)
    told = json.dumps(
        {"kafka": settings.kafka.model_dump(mode="json", exclude_defaults=True),
         "serving": {"decisions": {"timeout_ms": 2_000}}}
    )  # fmt: skip
    command = [sys.executable, "-m", "tests.support.serving.gateway_process", told]
    grounds.stop_scorer()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 our own script
            [*command, json.dumps(sent)], stdout=subprocess.PIPE, stderr=log, cwd=ROOT
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"202\n", (tmp_path / "log").read_text()
        finally:
            process.kill()
            process.communicate()

    async def scenario() -> dict[str, Any]:
        async with grounds.gateway() as service:
            task = asyncio.create_task(service.ask(asked(sent)))
            await until(lambda: delivered(service))
            grounds.continue_scorer()
            return document(await task)

    found = asyncio.run(scenario())
    (decision,) = grounds.published(sent["transaction_id"])
    assert decision.source_offset == found["source_offset"]
    wait_until(lambda: grounds.scorer.probe()[0], "the scorer is ready again")


def test_without_a_scorer_a_gateway_is_not_ready(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    kafka = kafka_topics(kafka_settings())
    settings = Settings(kafka=kafka)

    async def scenario() -> None:
        service = DecisionService(settings, Deployment("fraud:1.0.0"), lambda _: None)
        assert not service.ready()
        async with service:
            assert service.reasons() == ("no assigned scorer",)
            found = await problem(service.ask(asked({})))
            assert (found.status, found.kind) == (503, "unavailable")

    asyncio.run(scenario())
