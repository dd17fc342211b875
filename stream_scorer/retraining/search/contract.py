"""A finished trial of a search."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SearchTrial:
    """A finished trial. A search that is continued begins with the finished ones.

    Attributes:
        number: From 0.
        parameters: Of the estimator, by name.
        value: Average precision on the validation days; NaN if the fit failed.
        seconds: Time that it took.
    """

    number: int
    parameters: Mapping[str, float | int | str | bool]
    value: float
    seconds: float
