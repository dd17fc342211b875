"""The answers of ``/v1/decisions``, and its problems."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.codec.writing.json_text import JsonValueError
from stream_scorer.errors import RegistryUnavailableError, UnavailableError
from stream_scorer.processes.blocking_calls import CallsFullError
from stream_scorer.serving.decisions.admission import Refused
from stream_scorer.serving.decisions.correlation import AlreadyDecided, Result, TooLarge, TooOld
from stream_scorer.serving.decisions.identity import public_id
from stream_scorer.serving.decisions.judging import Rejection
from stream_scorer.serving.decisions.published import to_json
from stream_scorer.serving.web.messages import Response
from stream_scorer.serving.web.problems import BUSY_TITLE, Problem

PATH: Final = "/v1/decisions"
OK: Final = 200
ACCEPTED: Final = 202
MULTI_STATUS: Final = 207
_RETRY_SECONDS: Final = 5
_PLACE: Final = re.compile(r"at=([0-9]{1,9})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class DecisionAnswer:
    """The answer for one transaction.

    Attributes:
        status: As if it had come alone.
        members: Of the JSON object; empty with a problem.
        location: Where it can be fetched; only with 202.
        problem: Why it has no decision; None if it has one, or is pending.
    """

    status: int
    members: Mapping[str, Any]
    location: str = ""
    problem: Problem | None = None


def of_one(answer: DecisionAnswer) -> Response:
    """Return the response for a single transaction.

    Raises:
        Problem: The transaction has neither a decision nor a provisional outcome.
    """
    if answer.problem is not None:
        raise answer.problem
    headers = (("location", answer.location), ("retry-after", "1")) if answer.location else ()
    return Response(answer.status, to_json(answer.members), headers=headers)


def of_batch(answers: Sequence[DecisionAnswer]) -> Response:
    """Return the response for a batch: 200 only if each transaction has its decision."""
    status = OK if all(each.status == OK for each in answers) else MULTI_STATUS
    return Response(status, to_json({"answers": [_item(each) for each in answers]}))


def _item(answer: DecisionAnswer) -> dict[str, Any]:
    if answer.problem is not None:
        return {"status": answer.status, "problem": _document(answer.problem)}
    if answer.status == OK:
        return {"status": OK, "decision": answer.members}
    return {"status": answer.status, "pending": answer.members}


def _document(problem: Problem) -> dict[str, Any]:
    return {
        "type": f"urn:stream-scorer:problem:{problem.kind}", "title": problem.title,
        "status": problem.status, "detail": problem.detail, **problem.members,
    }  # fmt: skip


def decided(document: Mapping[str, Any]) -> DecisionAnswer:
    """Return the answer with a published decision."""
    return DecisionAnswer(OK, document)


def pending(key: bytes, provisional: str, place: tuple[int, int] | None = None) -> DecisionAnswer:
    """Return the answer for a transaction without a decision yet.

    Args:
        key: Its key.
        provisional: Its provisional outcome.
        place: Partition and offset of its record, by which other gateways find it; None: unknown.
    """
    own = public_id(key)
    location = f"{PATH}/{own}"
    if place is not None:
        location += f"?at={place[0]}-{place[1]}"
    members = {"id": own, "provisional_outcome": provisional, "location": location}
    return DecisionAnswer(ACCEPTED, members, location)


def of(result: Result) -> DecisionAnswer:
    """Return the answer for a result that is not a decision."""
    if isinstance(result, Rejection):
        return rejected(result)
    if isinstance(result, TooLarge):
        return rejected(Rejection("TOO_LARGE", "larger than the input topic's records may be"))
    if isinstance(result, AlreadyDecided):
        return _failed(
            Problem(
                409, "already-decided", "The transaction was decided earlier.",
                "its decision is in the decisions topic, but too old to be answered here",
            )
        )  # fmt: skip
    if isinstance(result, TooOld):
        return _failed(unavailable("no decision has come for too long: send the transaction again"))
    return unavailable_answer()


def rejected(rejection: Rejection) -> DecisionAnswer:
    """Return the answer for a record that is not a valid transaction."""
    path, found, _ = rejection.detail.partition(": ")
    return _failed(
        Problem(
            422, "rejected", "The record is not a valid transaction.", rejection.detail,
            members={"reason": rejection.reason, "path": path if found else ""},
        )
    )  # fmt: skip


def another_body() -> DecisionAnswer:
    """Return the answer for a known id with another body."""
    return _failed(
        Problem(
            409, "another-body", "The transaction's id was used for another body.",
            "a repeat must have the same body; a new transaction needs a new id",
        )
    )  # fmt: skip


def too_many_waiting() -> DecisionAnswer:
    """Return the answer for a repeat while many requests wait for the same transaction."""
    return _failed(overloaded(Refused("limit", 1)))


def unavailable_answer() -> DecisionAnswer:
    """Return the answer for a transaction that the broker has not acknowledged."""
    return _failed(unavailable("the broker has not acknowledged the transaction: send it again"))


def _failed(problem: Problem) -> DecisionAnswer:
    return DecisionAnswer(problem.status, {}, problem=problem)


def unavailable(why: str) -> Problem:
    """Return the problem that nothing can be decided now."""
    headers = (("retry-after", str(_RETRY_SECONDS)),)
    return Problem(503, "unavailable", "No decision can be made now.", why, headers=headers)


def overloaded(refused: Refused) -> Problem:
    """Return the problem that a request is not admitted."""
    detail = (
        "enough transactions wait for their decision"
        if refused.cause == "limit"
        else "the scorers have a backlog"
    )
    headers = (("retry-after", str(refused.retry_seconds)),)
    return Problem(503, "overloaded", BUSY_TITLE, detail, headers=headers)


def busy() -> Problem:
    """Return the problem that too many records are being looked up in the topic."""
    return Problem(
        503, "overloaded", BUSY_TITLE,
        "many transactions of other gateways are being looked up", headers=(("retry-after", "1"),),
    )  # fmt: skip


@contextmanager
def lookup_problems() -> Iterator[None]:
    """Raise what may fail while a record of another gateway is looked up as its problem."""
    try:
        yield
    except RegistryUnavailableError:
        raise unavailable("the schema registry does not answer") from None
    except (UnavailableError, TimeoutError):
        raise unavailable("the broker does not answer") from None
    except CallsFullError:
        raise busy() from None


def not_read() -> Problem:
    """Return the problem of a transaction that is decided, and its decision not read in time."""
    return unavailable(
        "the transaction is decided, and its decision is not read yet: another transaction of the "
        "decisions topic may still be open before it"
    )


def invalid_json(error: JsonValueError) -> Problem:
    """Return the problem of a body that is not JSON within the limits."""
    return Problem(400, "invalid-json", "The body is not a transaction in JSON.", str(error))


def place_in(query: str) -> tuple[int, int] | None:
    """Return the place that the query of such a location names; None if it names none.

    >>> place_in("at=2-3817"), place_in("at=x")
    ((2, 3817), None)
    """
    match = _PLACE.fullmatch(query)
    return None if match is None else (int(match[1]), int(match[2]))


def not_found() -> Problem:
    """Return the problem of an id without a decision for the client."""
    return Problem(
        404, "decision-not-found", "There is no such decision.",
        "it is unknown, older than the window, rejected, or another client's",
    )  # fmt: skip
