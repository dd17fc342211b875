"""The command prints each case, the specification's line of each failure, and a summary."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oip.reference.server import ReferenceServer
from tests.oip.run import main
from tests.oip.suite import all_cases


@pytest.fixture(scope="module")
def reference() -> Iterator[ReferenceServer]:
    server = ReferenceServer()
    server.start()
    yield server
    server.stop()


def asked(reference: ReferenceServer, *options: str) -> int:
    target = reference.target
    return main([target.url, target.grpc, "--model", target.model, *options])


def test_a_conforming_server(
    reference: ReferenceServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(reference, "--version", "1") == 0
    *printed, last = capsys.readouterr().out.splitlines()
    assert printed == [f"ok    {case.name}" for case in all_cases()]
    assert json.loads(last)["failed"] == 0


def test_a_failure_names_its_line(
    reference: ReferenceServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = tmp_path / "headers"
    headers.write_text("x-request-id: suite\n\n")
    with reference.as_variant("ignores the id"):
        assert asked(reference, "--version", "1", "--headers", str(headers)) == 1
    printed = capsys.readouterr().out
    failures = json.loads(printed.splitlines()[-1])["failures"]
    ids = [case.name for case in all_cases() if case.broken == "ignores the id"]
    assert set(ids) <= set(failures)
    assert len(failures) < 8
    assert "Optional, but if specified this identifier must be returned" in " ".join(
        printed.split()
    )


def test_an_unknown_model_is_one_line(
    reference: ReferenceServer, capsys: pytest.CaptureFixture[str]
) -> None:
    target = reference.target
    assert main([target.url, target.grpc, "--model", "none"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_model_without_one_input_is_refused(
    reference: ReferenceServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with reference.as_variant("no inputs"):
        assert asked(reference) == 2
    assert "one input with shape [-1, N], not []" in capsys.readouterr().err
