"""Two gateways on a stage, started as an operator would, and the clients that ask them."""

import json
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from stream_scorer.devkafka.cluster import free_ports
from tests.faults.suite.gateways.book import CallBook
from tests.faults.suite.gateways.clients import GatewayClient, LeavingClient, settle
from tests.faults.suite.gateways.door import AnswerDoor
from tests.faults.suite.gateways.http_client import ClientConnections
from tests.faults.suite.gateways.planted import noticed
from tests.faults.suite.stage import Stage
from tests.faults.verifier.answers import AnswersVerdict, judge_answers, source_of
from tests.faults.verifier.calls import AnswersEvidence, GatewayCall, by_gateways
from tests.faults.verifier.judge import Evidence
from tests.faults.verifier.payloads import decisions_in, outcome
from tests.faults.verifier.reader import Seen, read_to_end
from tests.support.faults.process import COMMAND, ScorerProcess, wait_until

_GATEWAYS = 2
_CLIENTS = 5
_LEAVING = 2
_FEED_PER_SECOND = 60
_ANSWERED_SECONDS = 180.0
_END_SECONDS = 40.0
_COMMAND_SECONDS = 120.0
_PLANTED_LEAST = 12
_MODEL = "fraud:1.0.0"


class Gateways:
    """Two gateways under load, with a scorer that also gets the stage's load.

    Args:
        stage: The stage.
        leaving: Whether there are also clients that leave before their answers.
        doors: Whether the clients reach the gateways through doors that lose answers.

    Attributes:
        scorer: The scorer.
        doors: The doors, one for each gateway; empty without.
        leavers: The clients that leave.
        verdict: The verdict on the answers, after ``finish``.
        planted: Errors that were planted in the recorded answers, and whether each was noticed.
    """

    def __init__(self, stage: Stage, *, leaving: bool = False, doors: bool = False) -> None:
        self.stage = stage
        self.doors: list[AnswerDoor] = []
        self.leavers: list[LeavingClient] = []
        self.verdict: AnswersVerdict | None = None
        self.planted: dict[str, bool] = {}
        self._leaving = leaving
        self._with_doors = doors
        self._book = CallBook()
        self._stack = ExitStack()
        self._ports = free_ports(_GATEWAYS)
        self._running: list[ScorerProcess] = []
        self._clients: list[GatewayClient] = []
        self._keys: dict[str, str] = {}
        self._started = 0
        self._faults: list[float] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stage = self.stage
            stage.feed = stage.feed_of(stage.load(), per_second=_FEED_PER_SECOND)
            self.scorer = stage.start()
            names = [f"shop{number}" for number in range(_CLIENTS)]
            names += [f"leaver{number}" for number in range(_LEAVING * self._leaving)]
            self._keys = {name: self._added(name) for name in names}
            self._running = [self._gateway(number) for number in range(_GATEWAYS)]
            stack.callback(self._kill_all)
            self._wait_ready()
            if self._with_doors:
                self.doors = [stack.enter_context(AnswerDoor(port)) for port in self._ports]
            for name in names:
                self._clients.append(self._client(name))
                self._clients[-1].start()
            stack.callback(self._stop_clients)
            self.wait_decided(20)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- gateways ---------------------------------------------------------------------------------

    def kill(self) -> int:
        """Kill a gateway that is ready, and start it again; return how many were killed."""
        ready = [each for each in self._running if each.alive and each.probe()[0]]
        if not ready:
            wait_until(
                lambda: any(each.probe()[0] for each in self._running),
                lambda: f"a gateway is ready: {self.said}",
                _ANSWERED_SECONDS,
            )
            return self.kill()
        victim = self.stage.random.choice(ready)
        number = self._running.index(victim)
        self.note_fault()
        victim.kill()
        gone = victim.wait() == -signal.SIGKILL
        self._running[number] = self._gateway(number)
        return int(gone)

    def note_fault(self) -> None:
        """Note that a fault happens now."""
        self._faults.append(time.monotonic())

    @property
    def in_flight(self) -> list[float | None]:
        """The transactions that wait for their decision, by each gateway's metric."""
        return [each.metric("stream_scorer_api_in_flight") for each in self._running]

    def _gateway(self, number: int) -> ScorerProcess:
        self._started += 1
        folder = self.stage.folder
        return ScorerProcess(
            self.stage.kafka.model_copy(update={"instance": f"gateway-{number}"}),
            folder / f"gateway-{self._started}.log",
            *("--decisions", "--plan-of", _MODEL, "--port", str(self._ports[number])),
            variables={"STREAM_SCORER_SERVING__ACCESS__CLIENTS_FILE": str(self._clients_file)},
            command="serve",
            fresh=True,
        )

    def _wait_ready(self) -> None:
        for each in self._running:
            each.wait_ready()

    def _kill_all(self) -> None:
        for each in self._running:
            if each.alive:
                each.kill()

    # -- clients ----------------------------------------------------------------------------------

    @property
    def _clients_file(self) -> Path:
        return self.stage.folder / "clients.json"

    def _added(self, name: str) -> str:
        """Add a client as an operator does; return its key."""
        done = subprocess.run(  # noqa: S603 our own program
            [
                *(str(COMMAND), "clients", "add", name, "--scope", "score"),
                *("--rate", "10000", "--burst", "10000"),
                *("--file", str(self._clients_file), "--json"),
            ],
            capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["key"])

    def _connections(self, name: str, ports: Sequence[int]) -> ClientConnections:
        return ClientConnections(name, self._keys[name], ports, self._choice())

    def _choice(self) -> random.Random:
        return random.Random(self.stage.random.random())  # noqa: S311 faults, not secrets

    def _client(self, name: str) -> GatewayClient:
        ports = [door.port for door in self.doors] or self._ports
        connections = self._connections(name, ports)
        if name.startswith("leaver"):
            leaver = LeavingClient(connections, self._book, self._choice())
            self.leavers.append(leaver)
            return leaver
        return GatewayClient(connections, self._book, self._choice())

    def wait_decided(self, count: int) -> None:
        """Wait until this many further new transactions have got their decision."""
        goal = self._book.decided + count

        def decided() -> bool:
            self.supervise()
            return self._book.decided >= goal

        wait_until(decided, lambda: f"{count} answers more: {self.said}", _ANSWERED_SECONDS)

    def supervise(self) -> None:
        """Start scorers again that have no broker; fail if a gateway or a client has ended."""
        self.stage.scorers.supervise()
        for client in self._clients:
            if client.failure is not None:
                raise client.failure
        for each in self._running:
            assert each.alive, f"a gateway left with {each.ended()}: {each.said}"

    @property
    def said(self) -> str:
        """The state of the gateways and of the scorers."""
        probes = [each.probe() for each in self._running]
        output = "".join(each.said for each in self._running)[-2_000:]
        return f"{probes} {output}; {self.stage.scorers.state()}"

    def _stop_clients(self) -> None:
        clients, self._clients = self._clients, []
        for client in clients:
            client.stop()

    # -- the end ----------------------------------------------------------------------------------

    def finish(self) -> AnswersVerdict:
        """Wait until all is answered, end all processes gracefully, and judge."""
        stage = self.stage
        stage.fault_over()
        stage.wait_resumed()
        wait_until(
            lambda: all(each.probe()[0] for each in self._running),
            lambda: f"the gateways are ready: {self.said}",
        )
        self._stop_clients()
        settlers = {name: self._connections(name, self._ports) for name in self._keys}
        settle(self._book, settlers, self._ports)
        for each in settlers.values():
            each.close()
        wait_until(
            lambda: self.in_flight == [0.0] * _GATEWAYS,
            lambda: f"nothing is in flight: {self.in_flight}",
        )
        for gateway in self._running:
            gateway.send(signal.SIGTERM)
        codes = [gateway.wait(_END_SECONDS) for gateway in self._running]
        assert codes == [0] * _GATEWAYS, f"left with {codes}: {self.said}"
        inputs = by_gateways(read_to_end(stage.inside.bootstrap, [stage.source]))
        stage.ledger.add(inputs)
        verdict = stage.finish()
        self._judge(inputs)
        assert self.verdict is not None
        verdict.take_answers(self.verdict, self._told())
        return self.verdict

    def _judge(self, inputs: Sequence[Seen]) -> None:
        stage = self.stage
        calls = self._book.calls()
        outputs = outputs_of(stage.evidence, calls, inputs)
        evidence = AnswersEvidence(stage.source, calls, inputs, outputs)
        self.verdict = judge_answers(evidence)
        if not self.verdict.faults:
            self.planted = noticed(evidence, self._choice())
            missed = [name for name, seen in self.planted.items() if not seen]
            assert not missed, f"planted errors that the verifier did not notice: {missed}"
            assert len(self.planted) >= _PLANTED_LEAST, f"planted only {list(self.planted)}"

    def decided_of_leavers(self) -> int:
        """Return how many decisions are in the topic of transactions whose client left."""
        left = set().union(*(each.left for each in self.leavers))
        decided = {
            (fields["customer_id"], fields["transaction_id"])
            for fields in decisions_in(self.stage.evidence.final, self.stage.kafka.topics.decisions)
        }
        return len(left & decided)

    def _told(self) -> dict[str, Any]:
        """Return what a report shows next to the verdict."""
        resumed = [self._book.first_decided(moment) for moment in self._faults]
        waits = [
            found - moment
            for found, moment in zip(resumed, self._faults, strict=True)
            if found is not None
        ]
        longest = max(waits, default=0.0)
        self.stage.resume_seconds = max(self.stage.resume_seconds, longest)
        return {
            "gateway_starts": self._started,
            "longest_resume_seconds": round(longest, 2),
            "planted": len(self.planted),
            "noticed": sum(self.planted.values()),
        }


def outputs_of(
    evidence: Evidence, calls: Sequence[GatewayCall], inputs: Sequence[Seen]
) -> list[Seen]:
    """Return the outputs for records of the gateways, and those that an answer names."""
    wanted = {(each.partition, each.offset) for each in inputs}
    wanted |= {source_of(call.answer) for call in calls}
    return [
        seen
        for seen in evidence.final
        if seen.topic in evidence.outcome_topics
        and outcome(seen, evidence.source_topic).source in wanted
    ]
