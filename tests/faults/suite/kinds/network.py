"""Faults of the network between the scorers and the broker, made by the proxy."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.suite.registry import kind
from tests.faults.suite.stage import Stage
from tests.support.faults.network_conditions import Weather
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.faults.proxy import Api, Direction

_SECONDS = 6.0
_PRODUCING = frozenset(
    {
        Api.PRODUCE, Api.INIT_PRODUCER_ID, Api.ADD_PARTITIONS, Api.ADD_OFFSETS, Api.END_TXN,
        Api.OFFSET_COMMIT,
    }
)  # fmt: skip


@contextmanager
def _bad_weather(stage: Stage, counter: str, weather: Weather) -> Iterator[None]:
    """Impair the network until the context's end; prove by the proxy's counter that it did."""
    proxy = stage.proxy
    before = getattr(proxy.counters, counter)
    proxy.weather.become(weather)
    try:
        yield
    finally:
        proxy.weather.become(Weather())
    stage.fired(getattr(proxy.counters, counter) - before, f"{counter} by the proxy")
    stage.fault_over()


@kind("network", quick=True)
def latency(stage: Stage) -> None:
    """Each request and each answer takes 150 ms."""
    stage.start()
    with _bad_weather(stage, "delayed", Weather(latency_seconds=0.15)):
        stage.wait_decided(500)
    stage.finish()


@kind("network")
def narrow_bandwidth(stage: Stage) -> None:
    """16 KB/s in each direction of each connection."""
    stage.start()
    with _bad_weather(stage, "throttled_bytes", Weather(bytes_per_second=16_000)):
        time.sleep(_SECONDS)
    stage.finish()


@kind("network")
def black_hole(stage: Stage) -> None:
    """Everything is swallowed while connections stay open."""
    stage.start()
    with _bad_weather(stage, "swallowed", Weather(black_hole=True)):
        time.sleep(_SECONDS)
    stage.finish()


@kind("network")
def producer_path_cut(stage: Stage) -> None:
    """No request of a producer passes while the consumer's do."""
    stage.start()
    with _bad_weather(stage, "cut", Weather(cut=_PRODUCING)):
        time.sleep(_SECONDS)
    stage.finish()


@kind("network")
def connections_reset(stage: Stage) -> None:
    """All connections are reset, five times."""
    stage.start()
    before = stage.proxy.counters.reset
    for _ in range(5):
        stage.proxy.reset()
        stage.wait_decided(stage.random.randint(50, 200))
    stage.fired(stage.proxy.counters.reset - before, "connections reset by the proxy")
    stage.fault_over()
    stage.finish()


@kind("network")
def half_open(stage: Stage) -> None:
    """The broker's side of all connections is gone, and no client notices."""
    stage.start()
    before = stage.proxy.counters.half_open
    stage.proxy.half_open()
    stage.fired(stage.proxy.counters.half_open - before, "connections half open by the proxy")
    stage.fault_over()
    stage.finish()


def _once(stage: Stage, api: Api, direction: Direction, times: int = 1) -> None:
    """Drop the next requests of a kind, or their answers, once."""
    stage.start()
    fault = stage.proxy.fault(api, direction, "drop", times)
    wait_until(fault.hit.is_set, lambda: f"a {api.name}: {stage.said}")
    wait_until(lambda: fault.left == 0, lambda: f"{times} of {api.name}: {stage.said}")
    stage.proxy.forget(fault)
    stage.fired(times, f"{api.name} {direction}s dropped by the proxy")
    stage.fault_over()
    stage.finish()


@kind("network")
def end_txn_answer_lost(stage: Stage) -> None:
    """The answer to EndTxn is lost."""
    _once(stage, Api.END_TXN, "answer")


@kind("network")
def end_txn_request_lost(stage: Stage) -> None:
    """The request EndTxn is lost."""
    _once(stage, Api.END_TXN, "request")


@kind("network")
def end_txn_answers_lost_until_it_gives_up(stage: Stage) -> None:
    """Every answer to EndTxn is lost until the scorer reads the result from the offsets."""
    stage.settle(socket_timeout_ms=1_000, transaction_timeout_ms=4_000)
    scorer = stage.start()
    fault = stage.proxy.fault(Api.END_TXN, "answer", "drop", 1_000)

    def settled() -> float:
        found = (scorer.metric("stream_scorer_transactions_total", result=f"settled_{how}")
                 for how in ("committed", "aborted"))  # fmt: skip
        return sum(each or 0 for each in found)

    wait_until(fault.hit.is_set, lambda: f"a commit: {stage.said}")
    wait_until(lambda: settled() > 0, lambda: f"the scorer settles it: {stage.said}")
    stage.fired(1_000 - fault.left, "EndTxn answers dropped by the proxy")
    stage.proxy.forget(fault)
    stage.fault_over()
    stage.finish()


@kind("network")
def offset_commit_answer_lost(stage: Stage) -> None:
    """The answer to TxnOffsetCommit is lost."""
    _once(stage, Api.OFFSET_COMMIT, "answer")


@kind("network")
def produce_answer_lost(stage: Stage) -> None:
    """The answer to Produce is lost."""
    _once(stage, Api.PRODUCE, "answer")


@kind("network")
def add_partitions_answer_lost(stage: Stage) -> None:
    """The answer to AddPartitionsToTxn is lost."""
    _once(stage, Api.ADD_PARTITIONS, "answer")


@kind("network")
def add_offsets_request_lost(stage: Stage) -> None:
    """The request AddOffsetsToTxn is lost."""
    _once(stage, Api.ADD_OFFSETS, "request")


@kind("network")
def init_producer_id_answer_lost(stage: Stage) -> None:
    """The answer to InitProducerId of a scorer that starts is lost."""
    first = stage.start()
    stage.stop(first)
    fault = stage.proxy.fault(Api.INIT_PRODUCER_ID, "answer")
    stage.scorer()
    stage.fired(int(fault.hit.is_set()), "InitProducerId answers dropped by the proxy")
    stage.proxy.forget(fault)
    stage.fault_over()
    stage.finish()


def hold_an_end(stage: Stage, *hooks: str) -> None:
    """Hold a commit, let its retry succeed, and release it inside the next transaction.

    The next transaction has sent its offsets but not its decisions when its scorer is killed. If
    the broker takes the late commit for this transaction's own, the offsets are committed without
    the decisions, and no scorer ever decides these records.
    """
    stage.settle(socket_timeout_ms=1_000, transaction_timeout_ms=60_000)
    proxy = stage.proxy
    scorer: ScorerProcess = stage.start(*hooks)
    before = proxy.counters.released
    late = proxy.fault(Api.END_TXN, "request", "hold")
    wait_until(lambda: bool(late.held), lambda: f"a commit: {stage.said}")
    # The next transaction gets no further than its offsets: their answer comes before its records.
    partitions = proxy.fault(Api.ADD_PARTITIONS, "request", "drop", 1_000)
    wait_until(partitions.hit.is_set, lambda: f"the next transaction: {stage.said}")
    proxy.release(late)
    scorer.kill()
    proxy.forget(partitions)
    stage.fired(proxy.counters.released - before, "EndTxn held and released by the proxy")
    stage.fault_over()
    stage.scorer(*hooks)
    stage.finish()


@kind("network", quick=True)
def end_txn_held_and_released_in_the_next_transaction(stage: Stage) -> None:
    """A held EndTxn arrives inside the next transaction, which is then aborted."""
    hold_an_end(stage)
