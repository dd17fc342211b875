"""Options that commands share, before or after the command's name, and only where they apply."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from stream_scorer.cli.main import COMMANDS, load
from stream_scorer.cli.options import (
    ClusterJsonOptions,
    CommandGroup,
    ConfigOptions,
    JsonOptions,
    expanded,
)
from stream_scorer.settings import Settings

SHARED = {"--config", "--bootstrap", "--json"}


@dataclass(frozen=True, kw_only=True)
class Named(ClusterJsonOptions):
    name: Annotated[str, typer.Option("--name")] = "x"


@pytest.fixture
def called() -> tuple[CommandGroup, list[Any]]:
    """Return a group of two commands, and the list of their calls."""
    group = CommandGroup("A group.", ClusterJsonOptions)
    seen: list[Any] = []

    @group.command()
    def look(*, limit: int = 3, options: Named) -> None:
        seen.append((limit, options))

    @group.command()
    def sign(*, options: ConfigOptions) -> None:
        seen.append(options)

    return group, seen


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "c.toml", "--bootstrap", "b:1", "--json", "look", "--limit", "5"],
        ["look", "--limit", "5", "--config", "c.toml", "--bootstrap", "b:1", "--json"],
        ["--config", "other.toml", "--json", "look", "--config", "c.toml", "--bootstrap", "b:1",
         "--limit", "5"],
    ],
)  # fmt: skip
def test_an_option_after_the_command_overrides_one_before(
    words: list[str], called: tuple[CommandGroup, list[Any]]
) -> None:
    group, seen = called
    assert CliRunner().invoke(group, words).exit_code == 0
    assert seen == [(5, Named(config=Path("c.toml"), bootstrap="b:1", as_json=True))]


def test_without_any_they_have_their_defaults(called: tuple[CommandGroup, list[Any]]) -> None:
    group, seen = called
    CliRunner().invoke(group, ["look"])
    assert seen == [(3, Named())]


def test_a_group_option_unknown_to_the_command_is_refused(
    called: tuple[CommandGroup, list[Any]],
) -> None:
    group, seen = called
    refused = CliRunner().invoke(group, ["--bootstrap", "b:1", "sign"])
    assert refused.exit_code == 2
    assert "sign has no option --bootstrap" in refused.stderr
    assert CliRunner().invoke(group, ["--config", "c.toml", "sign"]).exit_code == 0
    assert seen == [ConfigOptions(config=Path("c.toml"))]


def test_a_group_in_a_group_has_the_options_of_both() -> None:
    outer, inner = CommandGroup("Outer.", ClusterJsonOptions), CommandGroup("Inner.", ConfigOptions)
    seen: list[ConfigOptions] = []

    @inner.command()
    def sign(*, options: ConfigOptions) -> None:
        seen.append(options)

    outer.add_typer(inner, name="inner")
    words = ["--config", "a.toml", "inner"]
    for each in ([*words, "sign"], [*words, "--config", "b.toml", "sign"]):
        assert CliRunner().invoke(outer, each).exit_code == 0
    assert [options.config for options in seen] == [Path("a.toml"), Path("b.toml")]
    refused = CliRunner().invoke(outer, ["--bootstrap", "b:1", "inner", "sign"])
    assert refused.exit_code == 2
    assert "sign has no option --bootstrap" in refused.stderr


def test_a_function_without_group_options_is_unchanged() -> None:
    app, seen = typer.Typer(), []

    def plain(limit: int = 2) -> None:
        seen.append(limit)

    app.command()(expanded(plain))
    CliRunner().invoke(app, [])
    assert seen == [2]


def test_settings_are_those_of_the_named_file(tmp_path: Path) -> None:
    file = tmp_path / "scorer.toml"
    file.write_text('[kafka]\nbootstrap = "a:1"\n')
    options = ClusterJsonOptions(config=file)
    assert options.settings().kafka.bootstrap == "a:1"
    other = ClusterJsonOptions(config=file, bootstrap="b:1")
    assert other.settings().kafka.bootstrap == "b:1"
    found = other.connected({"kafka": {"instance": "i", "group": None}}).kafka
    assert (found.bootstrap, found.instance, found.group) == ("b:1", "i", Settings().kafka.group)


def test_a_report_is_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    JsonOptions(as_json=True).show({"a": None}, ("name",), [("cell",)])
    assert capsys.readouterr().out == '{"a": null}\n'
    JsonOptions().show({"a": None}, ("name",), [("cell",)])
    assert "cell" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_group_has_the_shared_options_of_its_commands(name: str) -> None:
    command = load(name)
    if not hasattr(command, "commands"):
        return
    own = {option for parameter in command.params for option in parameter.opts} & SHARED
    below = {
        option
        for each in command.commands.values()
        for parameter in each.params
        for option in parameter.opts
    }
    assert own == below & SHARED
