"""Devkafka starts a real Kafka: for real clients, Kafka's own tools, and real signals."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from stream_scorer.devkafka import DevKafka, cluster
from stream_scorer.devkafka.processes import started_at
from stream_scorer.kafka.topics import client_options
from stream_scorer.kafka.topics.create_topics import create_topics
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka
from tests.support.kafka.tools import run_tool

pytestmark = pytest.mark.kafka

_CONSOLE = "org.apache.kafka.tools.consumer.ConsoleConsumer"
_COMMAND = [sys.executable, "-c", "from stream_scorer.cli import main; main()"]


def _produce(settings: Kafka, *values: bytes) -> None:
    producer = Producer(client_options.producer(settings, f"{settings.group}-producer"))
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(settings.topics.transactions, value)
    producer.commit_transaction(30)


def _consume(settings: Kafka, count: int) -> list[bytes]:
    consumer = Consumer(
        client_options.reader(settings, settings.group) | {"enable.partition.eof": False}
    )
    consumer.subscribe([settings.topics.transactions])
    try:
        values = [message.value() for message in consumer.consume(count, timeout=60)]
        assert len(values) == count, f"{len(values)} of {count} records came"
        return values
    finally:
        consumer.close()


def _console(kafka: DevKafka, count: int) -> list[str]:
    done = run_tool(
        kafka,
        _CONSOLE,
        *("--bootstrap-server", "{bootstrap}", "--topic", "transactions", "--from-beginning"),
        *("--isolation-level", "read_committed"),
        *("--max-messages", str(count), "--timeout-ms", "20000"),
    )
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def _answers(address: str) -> bool:
    client = AdminClient({"bootstrap.servers": address, "log_level": 0, "error_cb": lambda _: None})
    try:
        return bool(client.list_topics(timeout=1).brokers)
    except KafkaException:
        return False


def _told(address: str) -> list[tuple[str, int]]:
    """Return the brokers' addresses that a listener advertises, by a raw request.

    A real client would immediately connect to the advertised addresses.
    """
    host, _, port = address.rpartition(":")
    # Metadata, version 1: correlation id, no client id, no topics.
    request = struct.pack(">hhihi", 3, 1, 7, -1, 0)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            _, correlation, count = struct.unpack(">iii", answer.read(12))
            assert correlation == 7
            found = []
            for _ in range(count):
                _, length = struct.unpack(">ih", answer.read(6))
                name = answer.read(length).decode()
                number, rack = struct.unpack(">ih", answer.read(6))
                answer.read(max(rack, 0))
                found.append((name, number))
    return found


def _subjects(registry: str) -> list[str]:
    with SchemaRegistryClient({"url": registry}) as client:
        return list(client.get_subjects())


def _gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while started_at(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_what_a_transaction_produced_is_consumed(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka]
) -> None:
    settings = kafka_topics(kafka_settings())
    _produce(settings, b"one", b"two")
    assert sorted(_consume(settings, 2)) == [b"one", b"two"]


@pytest.mark.thorough
def test_data_and_address_survive_a_restart_and_no_process_stays(tmp_path: Path) -> None:
    with DevKafka(directory=tmp_path) as kafka:
        first, pid = kafka.bootstrap, kafka.brokers[0].pid
        settings = Kafka(bootstrap=first)
        create_topics(settings)
        _produce(settings, b"before")
    assert started_at(pid) is None
    with DevKafka(directory=tmp_path) as kafka:
        assert kafka.bootstrap == first
        _produce(settings, b"after")
        assert _console(kafka, 2) == ["after", "before"]
        broker = kafka.brokers[0]
        broker.pause()
        assert not _answers(first)
        broker.resume()
        assert _answers(first)


@pytest.mark.thorough
def test_a_temporary_directory_leaves_with_its_kafka() -> None:
    with DevKafka(registry=True) as kafka:
        assert "transactions-value" in _subjects(kafka.registry_url)
        directory, pid = kafka.directory, kafka.brokers[0].pid
        assert (kafka.log_directory / "node-0.log").stat().st_size > 0
    assert not directory.exists()
    assert started_at(pid) is None


@pytest.mark.thorough
def test_three_nodes_lose_one_and_serve_on() -> None:
    with DevKafka(nodes=3) as kafka:
        settings = Kafka(bootstrap=kafka.bootstrap)
        create_topics(settings)
        described = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10)
        assert len(described.brokers) == 3
        assert all(
            len(partition.replicas) == 3
            for partition in described.topics["transactions"].partitions.values()
        )
        kafka.brokers[1].stop()
        assert not kafka.brokers[1].alive
        _produce(settings, b"with two")
        assert _console(kafka, 1) == ["with two"]


@pytest.mark.thorough
def test_a_taken_port_is_replaced_and_an_advertised_one_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free, asked = cluster.free_ports, []
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]

        def first_one_taken(count: int) -> list[int]:
            asked.append(count)
            return [taken, *free(count - 1)] if len(asked) == 1 else free(count)

        monkeypatch.setattr(cluster, "free_ports", first_one_taken)
        with DevKafka(advertised={0: "127.0.0.1:9"}) as kafka:
            assert asked == [3, 3]
            assert kafka.bootstrap == "127.0.0.1:9"
            address = kafka.brokers[0].address
            assert address != f"127.0.0.1:{taken}"
            assert _told(address) == [("127.0.0.1", 9)]
            assert AdminClient({"bootstrap.servers": kafka.internal_bootstrap}).list_topics(
                timeout=10
            )


@pytest.mark.thorough
def test_the_broker_dies_with_a_parent_that_is_killed() -> None:
    program = (
        "import time\n"
        "from stream_scorer.devkafka import DevKafka\n"
        "with DevKafka() as kafka:\n"
        "    print(kafka.brokers[0].pid, kafka.directory, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:  # noqa: S603 our own program
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        assert started_at(int(pid)) is not None
        parent.kill()
    assert _gone_within(int(pid), 10)
    shutil.rmtree(directory)


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAM_SCORER_")}
    return subprocess.run(  # noqa: S603 our own command
        [*_COMMAND, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def _leave_state_of_a_crash(folder: Path) -> None:
    """Write the state file of a Kafka whose process id now belongs to another process."""
    member = {"name": "broker 0", "pid": os.getpid(), "started": 1}
    state = {
        "bootstrap": "127.0.0.1:1", "registry_url": "", "nodes": 1, "directory": str(folder),
        "processes": [member],
    }  # fmt: skip
    (folder / ".dev" / "kafka" / "state.json").write_text(json.dumps(state))


def test_commands_find_a_started_kafka_and_stop_leaves_nothing(tmp_path: Path) -> None:
    assert _run(tmp_path, "kafka", "status", "--json").returncode == 1
    assert _run(tmp_path, "topics", "create").returncode == 2
    (tmp_path / ".dev" / "kafka").mkdir(parents=True)
    _leave_state_of_a_crash(tmp_path)
    try:
        first = _run(tmp_path, "kafka", "start", "--no-registry", "--json")
        assert first.returncode == 0, first.stderr
        started = json.loads(first.stdout)
        again = json.loads(_run(tmp_path, "kafka", "start", "--no-registry", "--json").stdout)
        assert (started["message"], again["message"]) == ("started", "runs already")
        assert again["processes"] == started["processes"]

        other = _run(tmp_path, "kafka", "start", "--no-registry", "--nodes", "3")
        assert (other.returncode, other.stderr.count("\n")) == (2, 1)
        assert "kafka stop" in other.stderr

        status = _run(tmp_path, "kafka", "status", "--json")
        assert status.returncode == 0
        assert json.loads(status.stdout)["bootstrap"] == started["bootstrap"]

        created = _run(tmp_path, "topics", "create", "--partitions", "2", "--json")
        topics = {topic["name"]: topic for topic in json.loads(created.stdout)["topics"]}
        assert topics["decisions"]["partitions"] == 2
        assert topics["summaries"]["partitions"] == 1
        _produce(Kafka(bootstrap=started["bootstrap"]), b"kept")
    finally:
        stopped = _run(tmp_path, "kafka", "stop", "--json")
    assert json.loads(stopped.stdout) == {"running": False, "stopped": True}
    assert all(started_at(process["pid"]) is None for process in started["processes"])
    assert _run(tmp_path, "kafka", "status", "--json").returncode == 1


@pytest.mark.thorough
def test_the_registry_runs_with_kafka_and_keeps_registrations(tmp_path: Path) -> None:
    try:
        started = json.loads(_run(tmp_path, "kafka", "start", "--json").stdout)
        assert [process["name"] for process in started["processes"]] == ["broker 0", "registry"]
        with SchemaRegistryClient({"url": started["registry_url"]}) as client:
            client.register_schema("upstream-value", Schema('"string"', "AVRO"))
        _run(tmp_path, "kafka", "stop")
        assert all(started_at(process["pid"]) is None for process in started["processes"])

        again = json.loads(_run(tmp_path, "kafka", "start", "--json").stdout)
        assert again["bootstrap"] == started["bootstrap"]
        assert "upstream-value" in _subjects(again["registry_url"])
        assert "upstream-value" not in (SCHEMAS_DIRECTORY / "registry.json").read_text()
    finally:
        _run(tmp_path, "kafka", "stop")


@pytest.mark.thorough
def test_a_crashed_background_broker_is_reported_and_forgotten(tmp_path: Path) -> None:
    try:
        started = json.loads(_run(tmp_path, "kafka", "start", "--no-registry", "--json").stdout)
        (crashed,) = started["processes"]
        os.kill(crashed["pid"], signal.SIGKILL)
        assert _gone_within(crashed["pid"], 10)
        status = _run(tmp_path, "kafka", "status", "--json")
        assert status.returncode == 1
        assert json.loads(status.stdout)["processes"][0]["state"] == "dead"
        assert "kafka start" in _run(tmp_path, "topics", "create").stderr
    finally:
        stopped = _run(tmp_path, "kafka", "stop", "--json")
    assert json.loads(stopped.stdout)["stopped"] is False
    assert not (tmp_path / ".dev" / "kafka" / "state.json").exists()


@pytest.mark.thorough
def test_a_kafka_is_found_by_its_data_from_any_folder(tmp_path: Path) -> None:
    home, elsewhere, data = (tmp_path / name for name in ("home", "elsewhere", "data"))
    home.mkdir()
    elsewhere.mkdir()
    named = ["--directory", str(data), "--json"]
    try:
        started = json.loads(_run(home, "kafka", "start", "--no-registry", *named).stdout)
        found = _run(elsewhere, "kafka", "status", *named)
        assert found.returncode == 0
        assert json.loads(found.stdout)["processes"] == started["processes"]
        # `stop` does not find it from the other folder, and the data folder alone does not match
        # either.
        assert json.loads(_run(elsewhere, "kafka", "stop", "--json").stdout)["stopped"] is False
        nothing = _run(home, "kafka", "stop", "--directory", str(elsewhere), "--json")
        assert json.loads(nothing.stdout)["stopped"] is False
        assert list(elsewhere.iterdir()) == []
        assert _run(home, "kafka", "status").returncode == 0
        stopped = _run(elsewhere, "kafka", "stop", *named)
        assert json.loads(stopped.stdout) == {"running": False, "stopped": True}
        assert all(started_at(process["pid"]) is None for process in started["processes"])
        assert _run(home, "kafka", "status", "--json").stdout == '{"running": false}\n'
        assert _run(home, "kafka", "status", *named).returncode == 1
    finally:
        _run(home, "kafka", "stop")
