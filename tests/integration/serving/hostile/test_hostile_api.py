"""Hostile requests to a real ``stream-scorer serve``: each is answered as a page says.

The process is unharmed afterwards: the same one, with bounded memory, and it answers.
"""

import ast
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile.case import HostileRequest
from tests.support.hostile.registry import CLIENTS, ELSEWHERE, REQUESTS, SETTINGS, ask_well
from tests.support.hostile.rules import RULES
from tests.support.openapi.served_api import ServedApi, served_api

ROOT = Path(__file__).parents[4]
LEAST_CASES = 80
MEGABYTES_MOST = 100
SECRETS = ("hunter2", "ssk_", "eyJ", "forged", "/etc/passwd", "Traceback")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    folder = tmp_path_factory.mktemp("api")
    with served_api(folder, serving=SETTINGS, clients=CLIENTS) as started:
        assert ask_well(started) == 200
        before = started.memory
        yield started
        assert started.process.poll() is None
        assert ask_well(started) == 200
        assert started.memory - before < MEGABYTES_MOST * 1_048_576
        assert started.probe()[0] == 200
        assert started.stop() == 0
        check_log(started)


def check_log(api: ServedApi) -> None:
    """Check that each line of the log is one JSON object, printable and without secrets."""
    lines = api.written().splitlines()
    served = 0
    for line in lines:
        assert line.isprintable(), line
        assert line.isascii(), line
        assert not any(each in line for each in SECRETS), line
        if line.startswith("{"):
            served += json.loads(line)["event"] == "request_served"
    assert served >= len(REQUESTS)
    audit = (api.folder / "audit.log").read_text()
    assert "access.certificate-forged" in audit
    assert all(line.isprintable() for line in audit.splitlines())


def test_the_cases_are_different_and_documented() -> None:
    causes = Counter(each.cause for each in REQUESTS)
    assert max(causes.values()) == 1
    assert len(causes) >= LEAST_CASES
    used = {each.rule for each in REQUESTS} | {each.rule for each in ELSEWHERE}
    assert used == RULES.keys()
    for page, quote in RULES.values():
        text = "\n".join(each.read_text() for each in sorted((ROOT / "docs").glob(page)))
        assert " ".join(quote.split()) in " ".join(text.split()), quote
    for each in ELSEWHERE:
        tree = ast.parse((ROOT / each.file).read_text())
        assert each.test in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.cause)
def test_a_hostile_request_is_answered_as_documented(api: ServedApi, case: HostileRequest) -> None:
    answer = case.send(api)
    assert case.wrong(answer) == ""
    assert "access-control-allow-origin" not in answer.fields
    assert ask_well(api) == 200
    if answer.status in {200, 404} and case.rule == "id":
        sent = answer.fields["x-request-id"]
        assert len(sent) <= 64
        assert sent.replace("-", "").isalnum()
