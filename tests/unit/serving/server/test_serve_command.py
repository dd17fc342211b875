"""``stream-scorer serve``: which plan judges ``/v1``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.errors import SettingsError
from stream_scorer.models.stores.deployment import Deployment
from stream_scorer.serving.server import process


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Any, list[Deployment | None]]:
    """Run the command without starting its server; return the result and what it would judge by."""
    asked: list[Deployment | None] = []

    def started(_settings: Any, compose: Callable[..., Any], _say: Any) -> None:
        asked.append(compose.__self__.decisions)  # type: ignore[attr-defined]

    monkeypatch.setattr(process, "run_server", started)
    ran = CliRunner().invoke(app, ["serve", "--bootstrap", "127.0.0.1:1", *words])
    return ran, asked


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--decisions",), Deployment("", follow=True)),
        (("--decisions", "--model", "fraud:1.0.0"), Deployment("", follow=True)),
        (("--decisions", "--plan-of", "fraud:1.0.0"), Deployment("fraud:1.0.0")),
        (("--decisions", "--plan", "p"), Deployment("", Path("p"))),
        (("--model", "fraud:1.0.0"), None),
    ],
)
def test_the_plan_is_the_named_one_or_the_rollouts(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: Deployment | None
) -> None:
    ran, asked = run(monkeypatch, *words)
    assert ran.exit_code == 0, ran.output
    assert asked == [expected]


def test_the_document_of_a_rollout_needs_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    ran, asked = run(monkeypatch, "--openapi", "--decisions")
    assert isinstance(ran.exception, SettingsError)
    assert "--plan-of or --plan" in str(ran.exception)
    assert asked == []
