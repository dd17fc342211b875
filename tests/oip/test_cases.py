"""Each case passes on the correct reference server, and fails on the variant that it names."""

from collections.abc import Iterator

import numpy as np
import pytest
from tritonclient import http

from tests.oip.reference import broken_grpc, broken_rest
from tests.oip.reference.server import ReferenceServer
from tests.oip.registry import NotConformingError, OipCase
from tests.oip.suite import all_cases, failures


@pytest.fixture(scope="module")
def reference() -> Iterator[ReferenceServer]:
    server = ReferenceServer()
    server.start()
    yield server
    server.stop()


def test_the_reference_conforms(reference: ReferenceServer) -> None:
    assert failures(reference.target) == []


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_each_case_catches_its_broken_server(reference: ReferenceServer, case: OipCase) -> None:
    case.check(reference.target)
    with reference.as_variant(case.broken) as broken, pytest.raises(NotConformingError):
        case.check(broken)


def test_each_case_has_a_line_and_a_variant_of_its_own() -> None:
    cases = all_cases()
    assert len({(case.binding, case.broken) for case in cases}) == len(cases)
    assert all(case.line.file and case.line.section and case.line.text for case in cases)


@pytest.mark.parametrize(
    ("binding", "tables"),
    [
        ("rest", (broken_rest.AFTER, broken_rest.BEFORE, broken_rest.REFUSED)),
        ("grpc", (broken_grpc.AFTER, broken_grpc.BEFORE, broken_grpc.REFUSED)),
    ],
)
def test_each_variant_has_a_case(binding: str, tables: tuple[dict[str, object], ...]) -> None:
    named = {case.broken for case in all_cases() if case.binding == binding}
    assert {variant for table in tables for variant in table} <= named


@pytest.mark.parametrize("binary", [True, False])
def test_a_public_client_understands_the_reference(
    reference: ReferenceServer, *, binary: bool
) -> None:
    target = reference.target
    rows = np.array(target.input.rows)
    given = http.InferInput(target.input.name, list(rows.shape), target.input.datatype)
    given.set_data_from_numpy(rows, binary_data=binary)
    wanted = [http.InferRequestedOutput(name, binary_data=binary) for name in target.outputs]
    client = http.InferenceServerClient(target.url.removeprefix("http://"))
    try:
        found = client.infer(target.model, [given], outputs=wanted, request_id="7")
    finally:
        client.close()
    assert found.get_response()["id"] == "7"
    assert found.as_numpy("score").tolist() == (rows @ [1, 10, 100]).tolist()
