"""A device that gets its customers' histories from the scorers' checkpoint in Kafka.

It then decides with the bits with which the stream decides the same transactions.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream_scorer.core.events.batch import Flag
from stream_scorer.edge.claims.decision_record import decode_decision
from stream_scorer.edge.files.export_folder import STATE
from stream_scorer.edge.run.keys import KeyFiles
from stream_scorer.edge.run.open_device import DeviceOptions, opened_device
from stream_scorer.registry.sources import FileRegistry
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka, Settings
from tests.support.device.device_command import PLAN, DeviceCommands, device_store
from tests.support.device.device_world import DEVICE
from tests.support.device.device_world import Record as Request
from tests.support.faults.process import environment
from tests.support.faults.reference_run import (
    Record,
    feed,
    outcome,
    transaction_codec,
    transactions,
)
from tests.support.state.stage import live, settings_of

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

MODEL = "fraud:1.0.1"
DAYS = 8


@dataclass(frozen=True)
class Sent:
    """A transaction that the stream and the device get."""

    transaction: str
    customer: str
    request: Request


def sent(records: Sequence[Record]) -> list[Sent]:
    """Return the valid transactions that come in time."""
    codec, files = transaction_codec(), FileRegistry(SCHEMAS_DIRECTORY)
    found = []
    for record in records:
        if record.bad or record.value is None:
            continue
        fields = codec.decode(record.value, files)
        if not fields["transaction_id"].startswith("late-"):
            digest = hashlib.blake2b(record.value, digest_size=16).digest()
            request = Request(record.value, digest)
            found.append(Sent(fields["transaction_id"], fields["customer_id"], request))
    return found


def features_in(kafka: Kafka) -> dict[str, bytes]:
    """Return the features of each decision of the stream."""
    return {
        each["transaction_id"]: struct.pack(f"<{len(each['features'])}d", *each["features"])
        for each in outcome(kafka).decisions.values()
    }


def test_a_provisioned_device_continues_with_the_streams_bits(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    kafka = kafka_topics(kafka_settings())
    records = transactions(DAYS)
    half = len(records) // 2
    before, after = records[:half], records[half:]
    ends = feed(kafka, before)
    live(settings_of(kafka), ends, model=MODEL)

    asked = sent(after)
    common = Counter(each.customer for each in asked).most_common()
    chosen, left = [name for name, _ in common[:40]], common[40][0]
    customers = tmp_path / "customers.txt"
    customers.write_text("\n".join([*chosen, "nobody"]))
    commands = DeviceCommands(tmp_path)
    commands.variables |= environment(kafka)
    told = commands.provisioned(
        device_store(tmp_path / "store", "1.0.2"), "1.0.2", "--state", str(customers)
    )
    assert (told["customers"], told["cold"]) == (len(chosen), ["nobody"])
    history = sent(before)
    assert told["events"] == sum(each.customer in set(chosen) for each in history)
    for partition, (low, high) in told["offsets"].items():
        assert 0 < low <= high <= ends[int(partition)]

    again = feed(kafka, after)
    live(settings_of(kafka), {p: ends[p] + again[p] for p in ends}, model=MODEL)
    wanted = features_in(kafka)
    folder = tmp_path / "device"
    settings = Settings(edge={"directory": folder, "device": DEVICE})
    assert (folder / STATE).exists()
    ours = [each for each in asked if each.customer in set(chosen)]
    (strange,) = [each for each in asked if each.customer == left][:1]
    with opened_device(settings, DeviceOptions()) as device:
        answers = [device.scorer.decide(each.request) for each in ours]
        assert {each.flags & Flag.DEGRADED for each in answers} == {0}
        assert device.scorer.decide(strange.request).flags & Flag.DEGRADED
        rows = device.state.outbox.first(len(ours))
    features = [decode_decision(each.row.decision).features for each in rows]
    assert features == [wanted[each.transaction] for each in ours]
    assert len(ours) > 100
    # The histories are in the log now, which a revocation makes unreadable.
    assert not (folder / STATE).exists()
    KeyFiles.of(settings).erase_state()
    refused = commands.command("edge", "run", "--stdin")
    assert refused.returncode == 2
    assert b"state.key" in refused.stderr


def test_an_export_that_has_no_broker_names_it(tmp_path: Path) -> None:
    commands = DeviceCommands(tmp_path)
    request = commands.document("edge", "init")["request"]
    customers = tmp_path / "customers.txt"
    customers.write_text("c1\n")
    store = device_store(tmp_path / "store", "1.0.2")
    words = (
        "export",
        "fraud:1.0.2",
        "--store",
        str(store),
        "--plan",
        str(PLAN),
        "--target",
        "device",
    )
    for options, code, why in (
        (("--for", str(request), "--state", str(customers)), 2, b"kafka.bootstrap"),
        (("--state", str(customers)), 15, b"--for"),
        (("--for", str(request), "--state", str(tmp_path / "none")), 2, b"none"),
    ):
        done = commands.command(*words, "--out", str(tmp_path / "export"), *options)
        assert done.returncode == code, done.stderr.decode()
        assert why in done.stderr
        assert not (tmp_path / "export").exists()
