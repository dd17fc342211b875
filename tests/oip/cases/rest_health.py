"""Health over REST."""

from tests.oip.registry import FIRST, REST, cases_of, expect, versioned
from tests.oip.rest import accepted, get
from tests.oip.target import OipTarget

case = cases_of("rest", "core", REST)

STATUS = "A 200 status code indicates true and a 4xx status code indicates false."
READY = '$ready_model_response = { "name" : $string, "ready": $bool }'
TABLE = "GET | v2/models/\\<model_name\\>[/versions/<model_version>]/ready"


@case("live.status", f"{FIRST}#Health", STATUS, "not live")
def live_status(target: OipTarget) -> None:
    answer = get(target, "/v2/health/live")
    expect(answer.status == 200, f"status {answer.status}")


@case(
    "live.body",
    "Server Live Response JSON Objet",
    '$live_server_response = { "live" : $bool, }',
    "live without a body",
)
def live_body(target: OipTarget) -> None:
    document = accepted(get(target, "/v2/health/live"))
    expect(document.get("live") is True, f"live is {document.get('live')!r}")


@case("ready.status", f"{FIRST}#Health", STATUS, "not ready")
def ready_status(target: OipTarget) -> None:
    answer = get(target, "/v2/health/ready")
    expect(answer.status == 200, f"status {answer.status}")


@case(
    "ready.body",
    "Server Ready Response JSON Object",
    '$ready_server_response = { "live" : $bool, }',
    "ready without live",
)
def ready_body(target: OipTarget) -> None:
    document = accepted(get(target, "/v2/health/ready"))
    expect(document.get("live") is True, f"live is {document.get('live')!r}")


@case("model_ready.status", f"{FIRST}#Health", STATUS, "model not ready")
def model_ready_status(target: OipTarget) -> None:
    answer = get(target, target.path("/ready"))
    expect(answer.status == 200, f"status {answer.status}")


@case("model_ready.name", "Model Ready Response JSON Object", READY, "ready without the name")
def model_ready_name(target: OipTarget) -> None:
    document = accepted(get(target, target.path("/ready")))
    expect(document.get("name") == target.model, f"name is {document.get('name')!r}")


@case("model_ready.ready", "Model Ready Response JSON Object", READY, "ready as text")
def model_ready_ready(target: OipTarget) -> None:
    document = accepted(get(target, target.path("/ready")))
    expect(document.get("ready") is True, f"ready is {document.get('ready')!r}")


@case("model_ready.version", "HTTP/REST", TABLE, "no readiness of a version")
def model_ready_version(target: OipTarget) -> None:
    answer = get(target, target.path("/ready", version=versioned(target)))
    expect(answer.status == 200, f"status {answer.status}")


@case("model_ready.unknown_model", f"{FIRST}#Health", STATUS, "any model is ready")
def model_ready_unknown_model(target: OipTarget) -> None:
    answer = get(target, target.path("/ready", model="no-such-model"))
    expect(400 <= answer.status < 500, f"status {answer.status}")


@case("model_ready.unknown_version", f"{FIRST}#Health", STATUS, "any version is ready")
def model_ready_unknown_version(target: OipTarget) -> None:
    versioned(target)
    answer = get(target, target.path("/ready", version="no-such-version"))
    expect(400 <= answer.status < 500, f"status {answer.status}")
