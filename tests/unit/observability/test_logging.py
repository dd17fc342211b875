import io
import json
import logging as standard
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from stream_scorer.observability.logging import process_logger


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_that_names_the_process() -> None:
    stream = io.StringIO()
    process_logger("scorer", "7", stream).warning("stuck", seconds=31.5, partitions=[1, 2])
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "stuck",
        "level": "warning",
        "process": "scorer",
        "instance": "7",
        "seconds": 31.5,
        "partitions": [1, 2],
    }


def test_debug_lines_are_left_out() -> None:
    stream = io.StringIO()
    process_logger("scorer", stream=stream).debug("detail")
    assert stream.getvalue() == ""


def test_the_default_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    process_logger("scorer").error("broken")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "broken"


def test_importers_keep_their_own_logging() -> None:
    handlers, level = list(standard.getLogger().handlers), standard.getLogger().level
    first, second = io.StringIO(), io.StringIO()
    process_logger("scorer", stream=first)
    process_logger("monitor", stream=second).error("broken")
    assert not structlog.is_configured()
    assert (list(standard.getLogger().handlers), standard.getLogger().level) == (handlers, level)
    assert first.getvalue() == ""
    assert lines(second)[0]["process"] == "monitor"


def test_an_exception_is_inside_the_line() -> None:
    stream = io.StringIO()
    try:
        int("password=hunter2")
    except ValueError:
        process_logger("scorer", stream=stream).exception("failed")
    (line,) = lines(stream)
    assert "ValueError" in line["exception"]
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize(
    "values",
    [
        {"password": "hunter2"},
        {"sasl_password": "hunter2"},
        {"value": SecretStr("hunter2")},
        {"client": {"sasl.password": "hunter2", "inner": {"token": "hunter2"}}},
        {"url": "https://user:hunter2@registry:8081/subjects"},
        {"detail": "sasl.username=me, sasl.password=hunter2, acks=all"},
        {"detail": 'refused {"ssl.key.password": "hunter2"}'},
        {"details": ["bearer_token: hunter2"]},
    ],
)
def test_secrets_are_masked(values: dict[str, Any]) -> None:
    stream = io.StringIO()
    process_logger("scorer", stream=stream).error("refused", **values)
    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0]["event"] == "refused"


def test_text_that_is_not_secret_stays() -> None:
    stream = io.StringIO()
    process_logger("scorer", stream=stream).error("x", url="https://registry:8081/a@b", n=(1, 2))
    (line,) = lines(stream)
    assert (line["url"], line["n"]) == ("https://registry:8081/a@b", [1, 2])
