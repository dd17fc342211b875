"""Names that clients of one cluster choose, and a member that its group has expelled."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from bench.hostile_cases.case import Place, cases, entry


def _id(group: str, instance: str, worker: int | None = None) -> str:
    """Return the transactional id of an instance, or of one of its workers."""
    kafka = entry("stream_scorer.settings", "Kafka")(
        bootstrap="127.0.0.1:1", group=group, instance=instance
    )
    if worker is not None:
        kafka = kafka.worker(worker)
    producer = entry("stream_scorer.kafka.loop.producer", "TransactionalProducer")
    client = SimpleNamespace(init_transactions=lambda _: None, poll=lambda _: None)
    made = producer(kafka, group, lambda _: None, make=lambda _: client)
    return str(made.transactional_id)


def _command(group: str, name: str) -> str:
    """Return the transactional id under which a command writes."""
    try:
        return str(
            entry("stream_scorer.kafka.membership.transactional_id", "command")(group, name).current
        )
    except Exception:  # noqa: BLE001 older trees have no such module
        return f"{group}-{name}"


def _differ(one: Callable[[], str], other: Callable[[], str]) -> Callable[[Place], str]:
    def run(_: Place) -> str:
        first, second = one(), other()
        return "different" if first != second else f"both are {first}"

    return run


def _metadata(generation: int, member: str) -> Callable[[Place], str]:
    """Ask the source for the identity under which offsets are committed."""

    def run(_: Place) -> str:
        source = entry("stream_scorer.kafka.loop.source", "KafkaSource")
        identity = SimpleNamespace(generation=generation, member=member)
        ours = object.__new__(source)
        ours.group = "g"
        ours._consumer = SimpleNamespace(group_metadata=lambda: identity)
        try:
            ours.group_metadata()
        except Exception as error:  # noqa: BLE001 the loop handles it
            return f"refused: {type(error).__name__}"
        return "offsets are sent"

    return run


def _suspended(_: Place) -> str:
    """Measure an age over a suspension of an hour, which stops one clock and not the other."""
    module = entry("stream_scorer.kafka.loop.producer")
    clock = getattr(module, "since_boot", None) or module.time.monotonic
    import time  # noqa: PLC0415 it is looked at, not used for waiting

    found = abs(clock() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1.0
    same = abs(time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1.0
    named = getattr(clock, "args", ()) == (time.CLOCK_BOOTTIME,)
    return "counts suspension" if named or (found and not same) else "stands still"


CASES: Final[tuple[Any, ...]] = cases(
    "membership", 9,
    ("group a-b with instance c, group a with instance b-c", "ids", "different",
     _differ(lambda: _id("a-b", "c"), lambda: _id("a", "b-c"))),
    ("worker 0 of instance a, instance a.0", "ids", "different",
     _differ(lambda: _id("g", "a", 0), lambda: _id("g", "a.0"))),
    ("an instance that is called as a command", "ids", "different",
     _differ(lambda: _id("g", "state-command"), lambda: _command("g", "state-command"))),
    ("a group that is called as another's instance", "ids", "different",
     _differ(lambda: _id("g:a", "b"), lambda: _id("g", "a-b"))),
    ("a generation of -1", "expelled", "refused: ", _metadata(-1, "m-1")),
    ("an empty member", "expelled", "refused: ", _metadata(5, "")),
    ("a member of its group", "expelled", "offsets are sent", _metadata(5, "m-1")),
    ("a machine that was suspended", "clock", "counts suspension", _suspended),
)  # fmt: skip
