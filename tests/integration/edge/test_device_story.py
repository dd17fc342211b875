"""A device as its operators run it: its rows go to the API by TLS, and a revocation ends it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.kafka.reading.read_to_end import read_all
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.ports import EDGE_DEVICE, EDGE_SEQUENCE
from stream_scorer.registry.sources import FileRegistry, reader_schema
from stream_scorer.settings import SCHEMAS_DIRECTORY, Kafka
from tests.support.device.device_command import DeviceCommands, device_store
from tests.support.device.device_process import body
from tests.support.device.device_world import DEVICE
from tests.support.edge.operators import ANYWHERE, Operator
from tests.support.edge.published import Delivery, rows_in
from tests.support.faults.process import ScorerProcess, wait_until
from tests.support.served.served_api import FAST, ServedApi
from tests.support.serving.access import make_key
from tests.support.serving.self_signed import certificate

pytestmark = [pytest.mark.kafka, pytest.mark.thorough]

ROWS = 20
SECONDS = 60.0


def served(operator: Operator, folder: Path, ca: Path, key: Path) -> tuple[ServedApi, str]:
    """Return the API with ``/v1/edge`` by TLS, and the device's key of it."""
    folder.mkdir()
    text = make_key(folder, DEVICE, scopes=["edge"], **FAST)
    serving = {"edge": {"enabled": True}, "tls_certificate": str(ca), "tls_key": str(key)}
    return ServedApi(
        operator.kafka, folder, serving=serving, variables=operator.variables()
    ), text  # fmt: skip


def outcomes(kafka: Kafka) -> dict[int, str]:
    """Return the published outcome of each of the device's rows."""
    codec, files = RecordCodec(19, reader_schema("decision.v3")), FileRegistry(SCHEMAS_DIRECTORY)
    found: dict[int, str] = {}
    for message in read_all(kafka, kafka.topics.decisions):
        told = dict(message.headers() or ())
        if told.get(EDGE_DEVICE) == DEVICE.encode():
            decision = codec.decode(message.value(), files)
            assert "edge" in decision["flags"]
            found[int(told[EDGE_SEQUENCE])] = decision["decision"]
    return found


def test_a_device_from_its_keys_to_its_revocation(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> None:
    operator = Operator(kafka_topics(kafka_settings()), Ed25519PrivateKey.generate())
    kafka, store = operator.kafka, device_store(tmp_path / "store", "1.0.2")
    device = DeviceCommands(tmp_path)
    device.provisioned(store, "1.0.2")
    request = DeviceRequest.from_json((tmp_path / f"device/{DEVICE}.request.json").read_bytes())
    with operator.writer() as writer:
        writer.allow(load_bundle(store / "fraud" / "1.0.2").manifest, "test")
        writer.provision(request, ANYWHERE, None, "test")
        writer.wait_until_known()
    ca, key = certificate(tmp_path)
    api, api_key = served(operator, tmp_path / "api", ca, key)
    (tmp_path / "api.key").write_text(api_key)
    (tmp_path / "api.key").chmod(0o600)
    with (
        api,
        ScorerProcess(
            kafka, tmp_path / "scorer.log", "--model", "fraud:1.0.1", "--from", "earliest",
            variables=operator.variables(scorer={"edge": "accept"}),
        ) as scorer,
    ):  # fmt: skip
        api.wait_served()
        port = api.address().rpartition(":")[2]
        settings: dict[str, Any] = {
            "UPLOAD": "https", "UPLOAD_URL": f"https://localhost:{port}", "UPLOAD_CA": ca,
            "API_KEY_FILE": tmp_path / "api.key", "TRUSTED_KEYS": json.dumps(operator.trusted),
        }  # fmt: skip
        device.variables |= {
            f"STREAM_SCORER_EDGE__{name}": str(value) for name, value in settings.items()
        }
        with device.running("--accept-cold") as process:
            answers = [device.post(body(number))[1] for number in range(ROWS)]
            wait_until(
                lambda: device.document("edge", "status")["uploaded"] == ROWS, lambda: device.said
            )
            wait_until(lambda: len(outcomes(kafka)) == ROWS, lambda: scorer.said)
            told = {answer["sequence"]: answer["decision"] for answer in answers}
            assert outcomes(kafka) == told
            # A signed revocation reaches it with its next row.
            with operator.writer() as writer:
                assert writer.revoke(DEVICE, None, "test").revoked_after == ROWS
                writer.wait_until_known()
            device.post(body(ROWS))
            assert process.wait(SECONDS) == 17, device.said
        assert not (tmp_path / "device" / "state.key").exists()
        scorer.stop(30)
    found = rows_in(kafka, kafka.topics.transactions)
    assert Delivery.of(found, DEVICE, ROWS) == Delivery(0, 0)
    refused = device.command("edge", "run")
    assert refused.returncode == 2
    assert b"state.key" in refused.stderr
