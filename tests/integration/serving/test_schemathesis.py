"""schemathesis over the OpenAPI document of ``/v2``: every answer is one that the document has."""

from collections.abc import Iterator

import pytest

from tests.support.effort import examples
from tests.support.openapi.document_checks import documented
from tests.support.openapi.raw_requests import ask
from tests.support.openapi.schemathesis_runs import exercise, table
from tests.support.openapi.served_api import MODEL, VERSION, ServedApi, served_api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    # Requests come as fast as the server answers them.
    limits = {"access": {"token_rate_per_second": 1e6, "token_burst": 1_000_000}}
    with served_api(tmp_path_factory.mktemp("api"), serving=limits) as started:
        yield started
        assert started.process.poll() is None
        assert started.stop() == 0
        assert "Traceback" not in started.written()


def test_every_answer_is_documented(api: ServedApi) -> None:
    authorization = f"Bearer {api.token()}"
    document = ask(api, "GET", "/openapi.json", [("authorization", authorization)]).document
    known = {"name": MODEL, "version": VERSION}
    seen = exercise(document, api.url, authorization, examples(160), known)
    report = table(seen)
    assert {name for name, _ in seen} == {f"{m} {p}" for m, p, _ in documented(document)}, report
    for name, status in (
        ("POST /v2/models/{name}/infer", 400), ("POST /v2/models/{name}/infer", 404),
        ("GET /v2/models/{name}", 200), ("GET /v2/models/{name}", 404), ("GET /openapi.json", 200),
    ):  # fmt: skip
        assert seen[name, status], report
    assert not any(status >= 500 for _, status in seen), report
