"""All hostile requests of the API, here and in other test files, and what came of them."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.serving.web.messages import JSON
from tests.support.hostile.bodies_and_paths import (
    BODIES,
    DEEP,
    FIELDS,
    GOOD,
    INFER,
    JSON_BODIES,
    LOGS,
    METHODS,
    PATHS,
)
from tests.support.hostile.case import HostileRequest
from tests.support.hostile.credentials import (
    CERTIFICATES,
    KEYS,
    PAGES,
    TOKENS,
    hostile_clients,
)
from tests.support.hostile.raw_http import REFUSED, SMUGGLING
from tests.support.openapi.raw_requests import ask
from tests.support.openapi.served_api import ServedApi

REQUESTS: Final[tuple[HostileRequest, ...]] = (
    *KEYS, *TOKENS, *CERTIFICATES, *PAGES, *METHODS, *FIELDS, *PATHS, *BODIES, *DEEP, *LOGS,
    *JSON_BODIES,
)  # fmt: skip
"""Sent to a real ``stream-scorer serve``."""
SETTINGS: Final[dict[str, Any]] = {
    "access_log": True, "body_seconds": 3.0, "inference": {"rows_max": 100},
    # A token with an unknown key id is a 503 while the keys are read again, and a 401 once they are
    # read. They are read at the start only, so that all of those are a 401.
    "access": {"token_keys_seconds": 86_400, "token_keys_refetch_seconds": 3_600},
}  # fmt: skip
CLIENTS: Final = hostile_clients
_INTEGRATION: Final = Path("tests/integration/serving")
_HTTP2: Final = str(_INTEGRATION / "test_http2.py")
_HTTP1: Final = str(_INTEGRATION / "test_hostile_requests.py")
_NGINX: Final = str(_INTEGRATION / "hostile" / "test_behind_nginx.py")
_GRPC: Final = str(_INTEGRATION / "hostile" / "test_hostile_calls.py")


@dataclass(frozen=True, slots=True)
class TestedElsewhere:
    """Hostile requests of a test that is not run by the registry.

    Attributes:
        file: Its file.
        test: Its function.
        rule: The documented rule.
        cases: How many requests of different cause it sends.
    """

    file: str
    test: str
    rule: str
    cases: int = 1


ELSEWHERE: Final = (
    TestedElsewhere(_HTTP1, "test_no_request_is_smuggled", "framing", len(SMUGGLING)),
    TestedElsewhere(_HTTP1, "test_a_refusal_is_documented", "head", len(REFUSED)),
    TestedElsewhere(_HTTP1, "test_an_unfinished_head_is_given_up", "slow", 3),
    TestedElsewhere(_HTTP1, "test_a_head_that_drips_has_the_same_time", "slow"),
    TestedElsewhere(_HTTP1, "test_silent_connections_leave_their_places", "slow"),
    TestedElsewhere(_HTTP1, "test_an_answer_that_is_not_read_holds_no_one_up", "slow"),
    TestedElsewhere(_HTTP2, "test_a_body_that_grows_too_long_is_refused", "large"),
    TestedElsewhere(_HTTP2, "test_a_length_that_is_not_the_bodys_ends_its_stream", "http2"),
    TestedElsewhere(_HTTP2, "test_a_head_that_is_too_long_is_refused", "http2"),
    TestedElsewhere(_HTTP2, "test_a_slow_body_is_given_up", "slow"),
    TestedElsewhere(_HTTP2, "test_streams_that_are_reset_at_once_end_the_connection", "http2"),
    TestedElsewhere(_HTTP2, "test_an_endless_head_is_refused", "http2"),
    TestedElsewhere(_HTTP2, "test_more_streams_than_allowed_are_refused", "http2"),
    TestedElsewhere(_GRPC, "test_a_hostile_call_is_refused", "metadata", 14),
    TestedElsewhere(_NGINX, "test_nothing_is_smuggled_behind_nginx", "framing", 12),
    TestedElsewhere(_NGINX, "test_a_forged_subject_does_not_pass_nginx", "proxy", 6),
)


def ask_well(api: ServedApi) -> int:
    """Send a good request; return its status."""
    fields = [("authorization", api.credential()), ("content-type", JSON)]
    return ask(api, "POST", INFER, fields, GOOD).status


def run_all(
    api: ServedApi, kinds: Collection[str] = (), *, first_wrong: bool = False
) -> dict[str, Any]:
    """Send all requests; return what came of them.

    Args:
        api: With :data:`SETTINGS` and :data:`CLIENTS`.
        kinds: First words of the causes of those that are sent; empty: all.
        first_wrong: Whether to end with the first answer that is not the documented one.
    """
    ask_well(api)
    before, slowest, wrong = api.memory, 0.0, {}
    chosen = [each for each in REQUESTS if not kinds or each.kind in kinds]
    for each in chosen:
        begin = time.monotonic()
        try:
            why = each.wrong(each.send(api))
        except OSError as error:
            why = repr(error)
        slowest = max(slowest, time.monotonic() - begin)
        if not why and not first_wrong and ask_well(api) != 200:
            why = "the next good request failed"
        if why:
            wrong[each.cause] = why
            if first_wrong:
                break
    return {
        "cases": len(chosen), "as_documented": len(chosen) - len(wrong), "wrong": wrong,
        "alive": api.process.poll() is None, "slowest_seconds": round(slowest, 2),
        "memory_grew_mb": round((api.memory - before) / 1_048_576, 1),
        "cases_elsewhere": sum(each.cases for each in ELSEWHERE),
    }  # fmt: skip
