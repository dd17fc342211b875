"""A session with every command and a small stream, for the command line of any tree of the project.

The names of topics and groups begin with ``recorded``. This tree simulates the input, with bad
records of each kind. The recorded tree trains and signs the bundles, and scores.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stream_scorer.demo.input import Spoiler
from stream_scorer.devkafka.processes import start
from stream_scorer.errors import UnavailableError
from stream_scorer.kafka.topics.create_topics import grow
from stream_scorer.kafka.topics.lag import LagReader
from stream_scorer.producing.labels import LabelledSender
from stream_scorer.producing.transactions import TransactionEncoder, open_feed
from stream_scorer.registry.sources import open_registry
from stream_scorer.settings import Kafka, Registry, Topics
from stream_scorer.simulator import simulate
from stream_scorer.simulator.files import write_table
from tests.recorded.recording import GROUP, GROUPS, TOPICS, Recording, dump
from tests.support.faults.process import wait_until

PARTITIONS = 2
DAYS, CUSTOMERS = 24, 60
_LABEL_DELAY_MS = 5 * 86_400_000
_COMPILING_SECONDS = 600.0
"""Time limit of a portion: a tree's first start compiles its kernels."""
_PROGRAM = "import os, sys; os.chdir(sys.argv.pop(1)); from stream_scorer.cli import main; main()"
_FEATURES = """
features = [
  { name = "AMOUNT", kind = "passthrough", field = "amount" },
  { name = "COUNT", kind = "count", window = "7d" },
  { name = "USUAL", kind = "median", field = "amount", window = "14d" },
"""
_RISK = '{ name = "RISK", kind = "risk", key = "terminal_id", delay = "7d", window = "7d" },\n'
_SPLIT = (
    "--train", "2018-04-05:2018-04-12", "--validation", "2018-04-13:2018-04-15",
    "--test", "2018-04-19:2018-04-24", "--delay-days", "3",
)  # fmt: skip
_PLANS = {
    "base": 'strategy = "champion"\nname = "base"\nversions = { champion = "fraud:1.0.0" }\n',
    "canary": 'strategy = "canary"\nname = "try"\nsalt = "recorded"\n'
    'versions = { canary = "fraud:1.1.0" }\nramp = [{ percent = 20 }, { percent = 40 }]\n',
    "green": 'strategy = "blue-green"\nname = "green"\nactive = "blue"\n'
    'versions = { blue = "fraud:1.1.0", green = "fraud:1.0.0" }\n',
    "shadow": 'strategy = "shadow"\nname = "look"\nversions = { candidate = "fraud:1.0.0" }\n',
}
_CONFIG = """
[kafka]
group = "{group}"
[kafka.topics]
{topics}
[registry]
directory = "schemas"
[models]
directory = "store"
require_signature = true
[models.trusted_keys]
release = "release.key.pub"
[rollout]
require_signature = true
[rollout.operator_keys]
ann = "ann.key.pub"
[audit]
path = "audit.jsonl"
key = "release.key"
require_signature = true
[audit.trusted_keys]
release = "release.key.pub"
[scorer]
maximum_batch = 200
[state]
bytes_per_event = 500
[profiler]
group = "{group}-profiler"
[replay]
group = "{group}-replay"
[http]
port = 0
"""


class Tree:
    """The command line of a tree, run in a folder.

    Args:
        tree: Root of the tree.
        folder: Where it runs; ``config.toml`` there, if any, has its settings.

    Attributes:
        keys: Paths of the keys that each command printed with ``--json``, by command.
        documents: What each command printed last.
    """

    def __init__(self, tree: Path, folder: Path) -> None:
        self.root, self.folder = tree, folder
        self.keys: dict[str, list[str]] = {}
        self.documents: dict[str, Any] = {}
        self.variables = {"PYTHONPATH": str(tree)}
        self._program = (sys.executable, "-c", _PROGRAM, str(folder))

    def ask(self, command: str, *words: str) -> Any:
        """Return what a command prints with ``--json``, its last line; note its keys."""
        document = json.loads(self.run(*command.split(), *words, "--json").splitlines()[-1])
        self.keys[command] = sorted({*self.keys.get(command, ()), *paths(document)})
        self.documents[command] = document
        return document

    def run(self, *words: str) -> str:
        """Return what a command prints; it must succeed."""
        done = subprocess.run(  # noqa: S603 our own command
            [*self._program, *words], check=False, env=os.environ | self.variables,
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f"{words} left with {done.returncode}: {done.stderr}")
        return done.stdout

    @contextmanager
    def running(self, *commands: str) -> Iterator[None]:
        """Run processes; all must exit gracefully after SIGTERM."""
        log = self.folder / "processes.log"
        started = [
            start([*self._program, *command.split()], log, environment=self.variables)
            for command in commands
        ]
        try:
            yield
        finally:
            for each in started:
                each.send_signal(signal.SIGTERM)
            codes = [each.wait(60) for each in started]
        if any(codes):
            raise AssertionError(f"{commands} left with {codes}: {log.read_text()}")


def paths(document: Any, prefix: str = "") -> Iterator[str]:
    """Yield the path of each key in a document; ``[]`` is any item of a list.

    >>> list(paths({"a": [{"b": 1}, {"c": {"d": None}}]}))
    ['a', 'a[].b', 'a[].c', 'a[].c.d']
    """
    if isinstance(document, list):
        for each in document:
            yield from paths(each, f"{prefix}[]")
    elif isinstance(document, dict):
        for key, value in document.items():
            path = f"{prefix}.{key}" if prefix else key
            yield path
            yield from paths(value, path)


def without_broker(tree: Tree) -> None:
    """Simulate, train, sign, and decide a file."""
    folder = tree.folder
    lines = "\n".join(f'{name} = "{topic}"' for name, topic in TOPICS.items())
    write_table(simulate(DAYS, CUSTOMERS), folder / "data.parquet")
    (folder / "few.toml").write_text(f"{_FEATURES}]\n")
    (folder / "all.toml").write_text(f"{_FEATURES}{_RISK}]\n")
    for name, plan in _PLANS.items():
        (folder / f"{name}.toml").write_text(plan)
    (folder / "store" / "fraud").mkdir(parents=True)
    shutil.copy(tree.root / "models" / "fraud" / "plan.toml", folder / "store" / "fraud")
    (folder / "schemas").symlink_to(tree.root / "schemas")
    tree.ask("simulate", "--days", "1", "--out", "day.csv")
    for version, features in (("1.0.0", "few.toml"), ("1.1.0", "all.toml")):
        tree.ask(
            "train", "--data", "data.parquet", "--model", "decision_tree", "--version", version,
            "--out", "store", "--features", features, *_SPLIT, "--parameter", "max_depth=4",
            "--resamples", "10", "--cards-per-day", "5",
        )  # fmt: skip
        # `models diff` prints the training times, in whole seconds, only if they differ.
        second = int(time.time())
        wait_until(partial(_is_after, second), "the next second begins")
    for name in ("release", "ann"):
        tree.ask("models keygen", "--out", f"{name}.key")
    (folder / "config.toml").write_text(_CONFIG.format(group=GROUP, topics=lines))
    tree.variables["STREAM_SCORER_CONFIG"] = "config.toml"
    for version in ("1.0.0", "1.1.0"):
        tree.ask("models sign", f"fraud:{version}", "--key", "release.key")
    for command in ("verify", "show", "validate"):
        tree.ask(f"models {command}", "fraud:1.1.0")
    tree.ask("models diff", "fraud:1.0.0", "fraud:1.1.0")
    tree.ask("models list")
    tree.ask("batch", "data.parquet", "out.parquet", "--model", "fraud:1.0.0")
    tree.ask("audit verify")
    tree.ask("audit show")
    tree.ask("schemas list")
    tree.ask("schemas check")


def _is_after(second: int) -> bool:
    return int(time.time()) > second


class _Stream:
    """The input, sent in portions; each is followed by a wait for its outcomes."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        registry = Registry()
        self._rows = LabelledSender(kafka, registry, simulate(DAYS, CUSTOMERS), _LABEL_DELAY_MS)
        encode = TransactionEncoder(registry)
        self._bad = list(
            Spoiler(encode, open_registry(registry), time.time_ns() // 1_000_000).kinds()
        )

    def send(self, part: float) -> None:
        """Send transactions up to this share of all, and a few bad records; wait for outcomes."""
        with open_feed(self._kafka, Registry()) as feed:
            self._rows.send(feed, round(part * len(self._rows)) - self._rows.sent)
            for make in [self._bad.pop() for _ in self._bad[:4]]:
                bad = make(self._rows.last)
                feed.send_encoded([bad.key], [bad.value])
        scorer, profiler = GROUPS
        topics = self._kafka.topics
        for group, topic in (
            (scorer, topics.transactions), (profiler, topics.transactions),
            (profiler, topics.labels),
        ):  # fmt: skip
            lag = LagReader(self._kafka, group, topic, _COMPILING_SECONDS)
            wait_until(partial(_is_read, lag), f"{group} has read {topic}", _COMPILING_SECONDS)


def _is_read(lag: LagReader) -> bool:
    try:
        return not any(each.to_stable for each in lag.read())
    except UnavailableError:
        # A busy broker answers after a command's time limit.
        return False


def kafka_at(bootstrap: str) -> Kafka:
    """Return the settings of the recorded group and topics."""
    return Kafka(bootstrap=bootstrap, group=GROUP, topics=Topics(**TOPICS))


@contextmanager
def broker(tree: Tree) -> Iterator[str]:
    """Start the tree's Kafka in its folder; yield its address, and stop it at the end."""
    try:
        started = tree.ask("kafka start", "--nodes", "1")
        tree.ask("kafka status")
        yield started["bootstrap"]
    finally:
        tree.ask("kafka stop")


def with_broker(tree: Tree, bootstrap: str) -> Recording:
    """Score the stream through rollouts; return what the topics have afterwards."""
    kafka = kafka_at(bootstrap)
    tree.variables["STREAM_SCORER_KAFKA__BOOTSTRAP"] = bootstrap
    tree.ask("topics create", "--partitions", str(PARTITIONS), "--replication", "1")

    def give(command: str, *words: str) -> None:
        tree.ask(f"rollout {command}", *words, "--key", "ann.key", "--reason", "recorded")

    give("start", "--plan", "base.toml")
    stream = _Stream(kafka)
    with tree.running(
        "profile --model fraud:1.1.0 --from earliest", "run --from earliest --warm fraud:1.1.0"
    ):
        stream.send(0.6)
        give("start", "--plan", "canary.toml")
        stream.send(0.7)
        give("step")
        stream.send(0.75)
        give("pause")
        give("resume")
        give("promote")
        stream.send(0.8)
        give("start", "--plan", "green.toml")
        stream.send(0.85)
        give("switch")
        stream.send(0.9)
        give("rollback")
        give("start", "--plan", "shadow.toml", "--replace")
        tree.ask("rollout status")
        stream.send(1.0)
    read(tree)
    return dump(kafka, tree.folder, _kept(tree.folder), tree.documents)


def _kept(folder: Path) -> Iterator[Path]:
    """Yield the files that are recorded."""
    yield from (path for path in (folder / "store").rglob("*") if path.is_file())
    yield from folder.glob("*.pub")
    yield folder / "audit.jsonl"
    yield folder / "config.toml"


def read(tree: Tree) -> None:
    """Run every command that only reads."""
    tree.ask("rollout status")
    tree.ask("rollout history")
    tree.ask("lag", "--seconds")
    tree.ask("dlq list")
    tree.ask("dlq show", "0", "0")
    tree.ask("dlq replay", "--dry-run")
    for what in ("decisions", "dlq"):
        tree.ask("tail", what, "--limit", "1")
    tree.ask("reproduce", "--from", "2018-04-01")
    tree.ask("reproduce", "--from", "2018-04-01", "--depth", "input", "--warm", "fraud:1.1.0")
    tree.ask("state inspect")
    tree.ask("state verify", "--model", "fraud:1.1.0")
    tree.ask("state export", "--out", "rings.parquet")


def change(tree: Tree, bootstrap: str) -> None:
    """Run the commands that write; the recording does not include what they write."""
    kafka = kafka_at(bootstrap)
    tree.ask("dlq replay", "--reason", "AMOUNT_NEGATIVE")
    tree.ask("state rebuild", "--model", "fraud:1.1.0")
    grow(kafka, kafka.topics.transactions, PARTITIONS + 1)
    tree.ask("state repartition", "--model", "fraud:1.1.0")
    write_table(simulate(1, CUSTOMERS), tree.folder / "one.csv")
    tree.ask("produce", "one.csv")
