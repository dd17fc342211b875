import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from stream_scorer import telemetry as events
from stream_scorer.errors import SettingsError
from stream_scorer.observability.endpoint import Endpoint
from stream_scorer.observability.health import Health
from stream_scorer.observability.metrics import ready_gauge
from stream_scorer.settings import Http


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(30.0, clock)


@pytest.fixture
def ready(health: Health) -> Health:
    health.model_loaded()
    health(events.PartitionsAssigned((0, 1)))
    health(events.ReplayProgress(0, 5, 5))
    health(events.ReplayProgress(1, 9, 9))
    assert health.ready
    return health


@pytest.fixture
def endpoint(health: Health) -> Iterator[Endpoint]:
    registry = CollectorRegistry()
    ready_gauge(registry).set_function(lambda: float(health.ready))
    with Endpoint(Http(port=0), registry, health) as opened:
        yield opened


def get(endpoint: Endpoint, path: str, accept: str = "*/*") -> tuple[int, str, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{endpoint.port}{path}", headers={"Accept": accept}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 the same
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_a_new_process_reports_what_it_waits_for(health: Health) -> None:
    assert health.reasons() == ["no model loaded", "no partitions assigned"]
    health.model_loaded()
    assert health.reasons() == ["no partitions assigned"]
    health(events.PartitionsAssigned((4,)))
    assert health.reasons() == ["partition 4: its state is not restored yet"]
    health(events.ReplayProgress(4, 10, 30))
    assert health.reasons() == ["partition 4: replay, 20 records left"]
    health(events.ReplayProgress(4, 30, 30))
    assert health.ready


def test_a_commit_ends_the_restore_of_its_partitions(health: Health) -> None:
    health.model_loaded()
    health(events.PartitionsAssigned((0, 1)))
    health(events.BatchCommitted(1, {}, "m", "1", next_offsets={1: 5}))
    assert health.reasons() == ["partition 0: its state is not restored yet"]


def test_a_partition_may_be_complete_before_its_assignment(health: Health) -> None:
    health.model_loaded()
    health(events.ReplayProgress(0, 7, 7))
    health(events.PartitionsAssigned((0, 1)))
    assert health.reasons() == ["partition 1: its state is not restored yet"]
    health(events.PartitionsRevoked((0, 1)))
    health(events.PartitionsAssigned((0,)))
    assert health.reasons() == ["partition 0: its state is not restored yet"]


def test_a_first_run_is_ready_once_a_restart_would_be(health: Health) -> None:
    health.model_loaded()
    health(events.PartitionsAssigned((0, 1), fresh=(1,)))
    for partition in (0, 1):
        health(events.ReplayProgress(partition, 0, 0))
    assert health.reasons() == ["partition 1: its first offset is not committed yet"]
    health(events.FirstOffsetsCommitted((1,)))
    assert health.ready
    health(events.PartitionsAssigned((2,), fresh=(2,)))
    health(events.PartitionsRevoked((2,)))
    assert health.ready


def test_an_empty_assignment_is_a_ready_standby(health: Health) -> None:
    health.model_loaded()
    health(events.PartitionsAssigned(()))
    assert health.ready


def test_a_spare_without_partitions_is_a_ready_standby(health: Health) -> None:
    health.model_loaded()
    health(events.StandingBy(False))
    assert health.reasons() == ["no partitions assigned"]
    health(events.StandingBy(True))
    assert health.ready
    health(events.PartitionsAssigned((0,)))
    assert health.reasons() == ["partition 0: its state is not restored yet"]
    health(events.PartitionsRevoked((0,)))
    assert health.reasons() == ["no partitions assigned"]


def test_a_process_without_a_model_needs_none(clock: Clock) -> None:
    health = Health(30.0, clock, needs_model=False)
    health(events.PartitionsAssigned(()))
    assert health.ready


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (
            events.Stuck(31.0, (1,)),
            "stuck: position has not moved for 31 s despite lag: partition 1",
        ),
        (events.DependencyUnavailable("registry", "refused"), "paused: registry: refused"),
        (events.Stopping("SIGTERM"), "stopping: SIGTERM"),
        (events.PartitionsRevoked((0, 1)), "no partitions assigned"),
        (events.PartitionsAssigned((2,)), "partition 2: its state is not restored yet"),
    ],
)
def test_each_reason_that_makes_it_not_ready_is_listed(
    ready: Health, event: events.Event, reason: str
) -> None:
    ready(event)
    assert ready.reasons() == [reason]


def test_it_is_ready_again_when_the_reason_is_gone(ready: Health) -> None:
    ready(events.Stuck(31.0, (0, 1)))
    ready(events.BatchCommitted(1, {}, "m", "1", next_offsets={0: 5}))
    assert ready.reasons() == ["stuck: position has not moved for 31 s despite lag: partition 0, 1"]
    ready(events.Moving())
    assert ready.ready
    ready(events.DependencyUnavailable("registry", "refused"))
    ready(events.DependencyBack("registry"))
    assert ready.ready
    ready(events.PartitionsRevoked((1,)))
    assert ready.ready


def test_degraded_stays_ready(ready: Health) -> None:
    ready(events.StateIncomplete(1, 77))
    ready(events.KeyMisplaced(100, 0))
    assert ready.degraded() == ["partition 1: history begins at offset 77, less than a horizon"]
    ready(events.KeyMisplaced(100, 3))
    assert ready.degraded()[1] == "3 of 200 sampled keys do not belong to their partition"
    ready(events.KeyOfAnother(50, 2))
    assert ready.degraded()[2] == "2 of 50 sampled keys do not give the customer"
    assert ready.ready
    ready(events.PartitionsRevoked((1,)))
    assert len(ready.degraded()) == 2


def test_a_refused_bundle_is_degraded_until_it_is_valid_again(ready: Health) -> None:
    ready(events.ModelVerified("fraud", "1.0.0", "start"))
    assert ready.degraded() == []
    ready(events.ModelVerified("fraud", "1.0.0", "time", "model.skops is missing"))
    ready(events.ModelVerified("fraud", "1.1.0", "time"))
    assert ready.ready
    assert ready.degraded() == ["model fraud:1.0.0 would be refused: model.skops is missing"]
    ready(events.ModelVerified("fraud", "1.0.0", "time"))
    assert ready.degraded() == []


def test_health_is_degraded_until_history_is_complete(ready: Health) -> None:
    ready(events.StateIncomplete(1, 77, ("input", "ring_cap")))
    assert ready.degraded() == [
        "partition 1: history begins at offset 77, less than a horizon",
        "partition 1: rings were already full under an earlier, smaller ring_cap",
    ]
    ready(events.StateIncomplete(1, 77, ("ring_cap",)))
    ready(events.StateComplete(0))
    assert ready.degraded() == [
        "partition 1: rings were already full under an earlier, smaller ring_cap"
    ]
    ready(events.StateComplete(1))
    assert ready.degraded() == []


def test_without_a_heartbeat_it_is_neither_live_nor_ready(ready: Health, clock: Clock) -> None:
    clock.now = 30.0
    assert ready.live
    clock.now = 30.5
    assert not ready.live
    assert ready.reasons() == ["no progress for 30 s"]
    ready.heartbeat()
    assert ready.live
    assert ready.ready


def test_the_endpoint_answers_probes(endpoint: Endpoint, health: Health, clock: Clock) -> None:
    status, kind, body = get(endpoint, "/health/ready")
    assert (status, kind) == (503, "application/json")
    assert json.loads(body) == {
        "ready": False,
        "reasons": ["no model loaded", "no partitions assigned"],
        "degraded": [],
    }
    assert get(endpoint, "/health/live")[0] == 200
    assert "stream_scorer_ready 0.0" in get(endpoint, "/metrics")[2]

    health.model_loaded()
    health(events.PartitionsAssigned(()))
    health(events.KeyMisplaced(10, 1))
    status, _, body = get(endpoint, "/health/ready?verbose")
    assert status == 200
    assert json.loads(body)["ready"] is True
    assert len(json.loads(body)["degraded"]) == 1
    assert "stream_scorer_ready 1.0" in get(endpoint, "/metrics")[2]

    clock.now = 99.0
    status, _, body = get(endpoint, "/health/live")
    assert status == 503
    assert json.loads(body) == {"live": False, "seconds_since_progress": 99.0}


def test_metrics_come_in_the_format_that_is_asked_for(endpoint: Endpoint) -> None:
    assert get(endpoint, "/metrics")[1].startswith("text/plain")
    _, kind, body = get(endpoint, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


@pytest.mark.parametrize(
    "accepted",
    [
        "text/plain;version=x",
        "text/plain;version=1.x",
        ";",
    ],
)
def test_an_unknown_metrics_format_gets_the_common_one(
    endpoint: Endpoint, accepted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status, kind, _ = get(endpoint, "/metrics", accepted)
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert capfd.readouterr().err == ""


def test_an_unknown_path_names_the_known_ones(endpoint: Endpoint) -> None:
    status, _, body = get(endpoint, "/")
    assert status == 404
    assert "/health/ready" in body


def test_probes_are_not_logged(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]) -> None:
    get(endpoint, "/health/live")
    assert capfd.readouterr() == ("", "")


def test_a_taken_port_is_one_line_with_its_fix(health: Health) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}: Address already in use"):
            Endpoint(Http(port=port), CollectorRegistry(), health)


def test_the_default_is_loopback(endpoint: Endpoint) -> None:
    assert Http().host == "127.0.0.1"
    assert endpoint._server.server_address[0] == "127.0.0.1"


def test_closing_frees_the_port(health: Health) -> None:
    endpoint = Endpoint(Http(port=0), CollectorRegistry(), health)
    port = endpoint.port
    endpoint.close()
    with Endpoint(Http(port=port), CollectorRegistry(), health) as again:
        assert again.port == port


def test_a_checkpoint_that_is_not_written_degrades_until_one_is(ready: Health) -> None:
    ready(events.CheckpointFailed("disk full"))
    assert ready.ready
    assert ready.degraded() == ["checkpoints are not written: disk full"]
    ready(events.CheckpointWritten(1, 2, {}, {}))
    assert ready.degraded() == []


def test_a_batch_that_hangs_is_not_live_until_it_ends() -> None:
    health = Health()
    health(events.ComputationHung(301.0, "a.py:1 f"))
    assert not health.live
    assert "hung: a batch has been computed for 301 s" in health.reasons()
    health(events.ComputationOver())
    assert health.live


def test_quarantined_records_degrade_health_with_count_and_last() -> None:
    health = Health()
    health(events.RecordQuarantined("t", 3, 17, "ValueError at a.py:1"))
    health(events.RecordQuarantined("t", 3, 18, "ValueError at a.py:1"))
    health(events.ReplayLeftOut(3, 5, "KeyError"))
    assert health.degraded() == [
        "2 records quarantined since the start, last t:3:18 (ValueError at a.py:1)",
        "1 records left out of a replay since the start, last partition 3 offset 5 (KeyError)",
    ]
