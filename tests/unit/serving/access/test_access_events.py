"""What metrics and logs show of access control: a closed set of reasons, lines for what to fix."""

import ast
import io
import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from stream_scorer import telemetry as events
from stream_scorer.observability.logging import process_logger
from stream_scorer.observability.render import Renderer
from stream_scorer.telemetry.access import REFUSALS

PACKAGE = Path(__file__).parents[4] / "stream_scorer"


class Shown:
    """Events as a process shows them."""

    def __init__(self, *told: events.Event) -> None:
        stream = io.StringIO()
        self.registry = CollectorRegistry()
        render = Renderer(
            self.registry, process_logger("serve", stream=stream), kinds=events.ACCESS_EVENTS
        )
        for event in told:
            render(event)
        self.lines: list[Any] = [json.loads(line) for line in stream.getvalue().splitlines()]

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"stream_scorer_{name}", labels)


def test_each_refusal_is_counted_by_its_reason_from_zero_on() -> None:
    shown = Shown(events.CallerRefused("rate"), events.CallerRefused("rate"))
    assert shown.value("access_refused_total", reason="rate") == 2
    for reason in set(REFUSALS) - {"rate"}:
        assert shown.value("access_refused_total", reason=reason) == 0
    assert shown.lines == []


def test_a_refused_clients_file_is_shown_until_it_is_valid() -> None:
    shown = Shown(events.ClientsRead(3, "others may access it"))
    assert (shown.value("access_clients"), shown.value("access_clients_refused")) == (3, 1)
    assert [line["event"] for line in shown.lines] == ["clients_refused"]
    assert shown.lines[0]["refusal"] == "others may access it"
    shown = Shown(events.ClientsRead(3, "x"), events.ClientsRead(4))
    assert (shown.value("access_clients"), shown.value("access_clients_refused")) == (4, 0)


def test_a_failed_reading_of_the_issuers_keys_is_shown() -> None:
    shown = Shown(events.TokenKeysRead(2), events.TokenKeysRead(2, "no answer"))
    assert shown.value("access_token_keys") == 2
    assert shown.value("access_token_key_readings_total", result="read") == 1
    assert shown.value("access_token_key_readings_total", result="failed") == 1
    assert [line["event"] for line in shown.lines] == ["token_keys_not_read"]


def test_refusals_that_are_not_recorded_are_shown() -> None:
    (line,) = Shown(events.AccessNotRecorded(2, "disk full")).lines
    assert (line["event"], line["waiting"], line["detail"]) == (
        "access_not_recorded",
        2,
        "disk full",
    )


@pytest.mark.parametrize("folder", ["serving/access", "security"])
def test_every_reason_in_the_code_is_in_the_closed_set(folder: str) -> None:
    words = {
        node.value
        for path in (PACKAGE / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    begin = ("token_", "client_", "certificate_", "credential_", "key_")
    known = {word for word in words if word in REFUSALS}
    assert len(known) >= 9
    called = {
        node.args[0].value
        for path in (PACKAGE / folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and ast.unparse(node.func).rpartition(".")[2]
        in {"CallerRefused", "_failed", "TokenRefusedError", "TokenRefusal"}
    }
    assert called
    assert called <= set(REFUSALS)
    assert any(str(word).startswith(begin) for word in called)
