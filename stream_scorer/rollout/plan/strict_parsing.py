"""Strict parsing of what the control log contains: other keys or types are refused."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stream_scorer.core.decision.routing import BUCKETS
from stream_scorer.security.canonical_json import canonical, parse

FORMAT: Final = 1
PLAN_FORMAT: Final = 4
"""Format of a plan that shares what format 1 does not know; older programs stop at it."""
DAY_SECONDS = 86_400
_PER_CENT = BUCKETS // 100
_INT64 = 2**63 - 1

Arm = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Label = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}:(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}$")
]
EventTime = Annotated[int, Field(ge=0, le=_INT64)]
Sequence = Annotated[int, Field(ge=1)]
"""Number of an accepted record of the control log."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hex."""
Percent = Annotated[float, Field(ge=0, le=100)]
Text = Annotated[str, Field(max_length=2_000)]


class StrictModel(BaseModel):
    """A part of what the control log contains; other keys or types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Body(StrictModel):
    """The fields that every command's body has.

    Attributes:
        format: Version of this layout.
        reason: Why, for people.
    """

    format: Literal[1] = FORMAT
    reason: Text = ""


P = TypeVar("P", bound=StrictModel)


def read(kind: type[P], document: Mapping[str, Any] | bytes) -> P:
    """Return a part, parsed strictly, from a file's table or the bytes of a record.

    Raises:
        ValueError: Names the key and what is wrong with it.
    """
    try:
        data = document if isinstance(document, bytes) else canonical(dict(document))
        parse(data)
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        told = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            told = "unknown key"
        raise ValueError(f"{where}: {told}" if where else told) from None
    except RecursionError:
        # `canonical` can exceed the recursion limit before `parse` checks the depth.
        raise ValueError("nested too deep") from None
    except TypeError as error:
        raise ValueError(f"a value has no place there: {error}") from error


def buckets_of(percent: float) -> int:
    """Return how many of the 10,000 buckets a percentage is."""
    return round(percent * _PER_CENT)


def whole_buckets(percent: float) -> float:
    """Return a percentage, which must be a whole number of buckets.

    Raises:
        ValueError: It is not.
    """
    if abs(percent * _PER_CENT - buckets_of(percent)) > 1e-6:  # noqa: PLR2004 rounding of 0.07 x 100
        raise ValueError(f"{percent} is not a whole number of hundredths of a per cent")
    return percent
