"""The ways in which a mapping of labels may leave fields out, as parameters of a test."""

from typing import Any

import pytest


def label_mappings(
    labels: dict[str, Any], dated: dict[str, Any], customer: dict[str, Any]
) -> list[Any]:
    """Return each mapping with and without the customer; the quick tier has one of each.

    Args:
        labels: With the event time.
        dated: Without the event time.
        customer: The rule of the customer.
    """
    return [
        labels,
        pytest.param(labels | customer, marks=pytest.mark.thorough),
        pytest.param(dated, marks=pytest.mark.thorough),
        dated | customer,
    ]
