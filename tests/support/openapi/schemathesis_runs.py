"""Requests that schemathesis makes of the OpenAPI document, against a server."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import checks

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
DOCUMENTED_FAILURE = 503
# HTTP's own fields. A wrong one is refused before there is a request: 400, with an empty body.
FRAMING = ("content-length", "transfer-encoding")
Counts = Counter[tuple[str, int]]


def exercise(
    document: Mapping[str, Any], url: str, authorization: str, count: int,
    known: Mapping[str, str], adapt: Callable[[Any], None] = lambda _: None,
) -> Counts:  # fmt: skip
    """Send requests that fit the document and such that do not; check each answer against it.

    Args:
        document: The document.
        url: Of the server.
        authorization: The header's value.
        count: Requests of each operation and each of both kinds.
        known: Values that exist for parameters of paths; half of the requests have them.
        adapt: Changes a request in place.

    Returns:
        How often each operation was answered with each status.
    """
    load_all_checks()
    schema = schemathesis.openapi.from_dict(dict(document), config=SchemathesisConfig())
    seen: Counts = Counter()
    with requests.Session() as session:
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode is GenerationMode.NEGATIVE and not (
                    operation.body or operation.path_parameters or operation.query
                ):
                    continue

                @seed(1)
                @settings(
                    max_examples=count, deadline=None, database=None, phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )  # fmt: skip
                @given(case=operation.as_strategy(generation_mode=mode), exists=st.booleans())
                def one(case: Any, *, exists: bool) -> None:
                    if exists:
                        for name in case.path_parameters.keys() & known.keys():
                            case.path_parameters[name] = known[name]
                    adapt(case)
                    for name in [n for n in case.headers or () if n.lower() in FRAMING]:
                        del case.headers[name]
                    headers = {"Authorization": authorization}
                    response = case.call(base_url=url, session=session, headers=headers, timeout=60)
                    seen[case.operation.label, response.status_code] += 1
                    assert response.status_code < 500 or (
                        response.status_code == DOCUMENTED_FAILURE
                        and "retry-after" in response.headers
                    ), case.as_curl_command()
                    case.validate_response(response, checks=CHECKS)

                one()
    return seen


def table(seen: Counts) -> str:
    """Return how often each operation was answered with each status, a line each."""
    names = sorted({name for name, _ in seen})
    return "\n".join(
        f"{name}: " + ", ".join(f"{s} {n}x" for (o, s), n in sorted(seen.items()) if o == name)
        for name in names
    )
