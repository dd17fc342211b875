"""``rollout start`` and ``rollout template``, as far as they need no broker."""

from typing import Any
from unittest import mock

import pytest
from typer.testing import CliRunner

from stream_scorer.cli import options, rollout
from stream_scorer.cli.main import app
from stream_scorer.errors import SettingsError
from stream_scorer.rollout.operator.old_options import OLD_OPTIONS
from stream_scorer.rollout.operator.template import template
from stream_scorer.rollout.plan.plan_file import Strategy


class _AskedError(Exception):
    pass


def _given(*words: str) -> tuple[dict[str, Any], str]:
    """Return the old options that ``start`` got, and its output to stderr."""
    seen: list[Any] = []

    def ask(self: rollout.OldOptions) -> None:
        seen.append(self.given)
        warn(self)

    warn = rollout.OldOptions.warn
    with (
        mock.patch.object(rollout.OldOptions, "warn", ask),
        mock.patch.object(options, "connected_settings", side_effect=_AskedError),
    ):
        done = CliRunner().invoke(app, ["rollout", "start", *words])
    assert isinstance(done.exception, _AskedError)
    return seen[0], done.stderr


@pytest.mark.parametrize("flag", OLD_OPTIONS)
def test_an_old_option_works_and_names_its_key(flag: str) -> None:
    given, warned = _given(flag, *([] if flag == "--manual" else ["x"]))
    assert given == {flag: True if flag == "--manual" else ["x"]}
    (line,) = warned.splitlines()
    assert f"{flag} will be removed: write {OLD_OPTIONS[flag].key} in a rollout plan" in line
    assert "rollout template" in line


def test_a_plan_file_alone_brings_no_warning() -> None:
    assert _given("--plan", "plan.toml") == ({}, "")


def test_help_shows_no_old_option() -> None:
    shown = CliRunner().invoke(app, ["rollout", "start", "--help"]).stdout
    assert "--plan" in shown
    assert [flag for flag in OLD_OPTIONS if f"{flag} " in shown] == []


def test_without_a_plan_the_template_is_named() -> None:
    done = CliRunner().invoke(app, ["rollout", "start"])
    assert isinstance(done.exception, SettingsError)
    assert "stream-scorer rollout template canary > plan.toml" in str(done.exception)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_template_is_printed_as_it_is(strategy: Strategy) -> None:
    done = CliRunner().invoke(app, ["rollout", "template", strategy.value])
    assert done.stdout == template(strategy)
