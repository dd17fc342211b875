"""As whom the ``state`` commands fold the input again."""

from pathlib import Path
from typing import Any

import pytest

from stream_scorer.cli import state
from stream_scorer.cli.state import RefoldOptions
from stream_scorer.models.stores.deployment import Deployment

PLAN = Path("plan.toml")


@pytest.mark.parametrize(
    ("options", "deployment"),
    [
        ({}, Deployment("fraud", follow=True)),
        ({"warm": "fraud:1.1.0"}, Deployment("fraud", warm="fraud:1.1.0", follow=True)),
        ({"model": "fraud:1.0.0"}, Deployment("fraud:1.0.0")),
        ({"plan": PLAN}, Deployment("fraud", PLAN)),
    ],
)
def test_a_named_model_or_plan_is_taken_instead_of_the_rollout(
    options: dict[str, Any], deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "open_checkpoint", lambda _: None)
    given = RefoldOptions(bootstrap="localhost:9", **options)
    assert given.opened()[1] == deployment
