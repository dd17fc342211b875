"""The documents agree with the code: settings, plan, exit codes, reasons, commands, links."""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from stream_scorer import errors
from stream_scorer.cli.main import load
from stream_scorer.core.events.batch import Flag, RejectReason
from stream_scorer.core.events.plan import _RANGES, Plan
from stream_scorer.core.features.kinds import KINDS
from stream_scorer.models.bundles.bundle import Manifest
from stream_scorer.settings import MODELS_DIRECTORY, SCHEMAS_DIRECTORY, Settings
from stream_scorer.telemetry import ACCESS_EVENTS, EVENTS, LAG_EVENTS, SUPERVISOR_EVENTS, Event

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "docs" / "CONFIGURATION.md").read_text()
RUNBOOK = (ROOT / "docs" / "RUNBOOK.md").read_text()
FEATURES = (ROOT / "docs" / "FEATURES.md").read_text()
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[ms]*/README.md")],
    key=lambda path: path.as_posix(),
)


def _plain(value: Any) -> str:
    """Return a default as a TOML file would have it."""
    if value == SCHEMAS_DIRECTORY:
        return "the shipped `schemas`"
    if value == MODELS_DIRECTORY:
        return "the shipped `models`"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`".replace("'", '"')
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield a table row for each setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        assert default is not PydanticUndefined
        assert field.description, f"{prefix}{name} has no description"
        yield f"| `{prefix}{name}` | {_plain(default)} | {field.description} |"


def _section(text: str, heading: str) -> str:
    """Return the text below a heading, up to the next one."""
    found = re.search(
        rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL
    )
    assert found, f"no section {heading!r}"
    return found[1]


def _table(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_every_setting_is_documented_with_default_and_meaning() -> None:
    expected = list(_settings(Settings))
    assert "\n".join(_table(_section(CONFIGURATION, "Settings"))) == "\n".join(expected)


def test_every_key_of_the_plan_is_documented_with_its_range() -> None:
    found = _table(_section(CONFIGURATION, "Plan"))
    plan = Plan()
    told = [tuple(cell.strip(" `") for cell in row.split("|")[1:4]) for row in found]
    ranges = {name: f"{least} to {most}" for name, (least, most) in _RANGES.items()}
    # An upper limit that only prevents overflow is not documented with its nineteen digits.
    ranges |= {"revision": "0 or more", "amount_minor_max": "1 or more"}
    ranges |= {"lateness_ms": "0 to 2592000000", "model_error_share": "0 to 1"}
    ranges |= {"currencies": "one or more", "policy": ""}
    ranges |= {"events": "", "extras": "at most 64"}
    ranges |= {"segments": "at most 8 keys and 64 segments"}
    ranges |= dict.fromkeys(("label_policy", "explore", "review_sample"), "")
    defaults = {f.name: str(getattr(plan, f.name)) for f in dataclasses.fields(Plan)}
    defaults["currencies"] = "{ EUR = 2 }"
    assert told == [(name, defaults[name], ranges[name]) for name in defaults]


def test_every_key_of_the_manifest_is_documented() -> None:
    found = _table(_section(CONFIGURATION, "Manifest"))
    assert [row.split("`")[1] for row in found] == list(Manifest.model_fields)


def _tree(kind: type[errors.StreamScorerError]) -> Iterator[type[errors.StreamScorerError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


def test_every_exit_code_has_its_section() -> None:
    codes = {kind.exit_code for kind in _tree(errors.StreamScorerError)}
    headings = re.findall(
        r"^## (?:The scorer|A command) left with exit code (\d+)", RUNBOOK, re.MULTILINE
    )
    assert {int(code) for code in headings} == codes
    readme = (ROOT / "README.md").read_text()
    table = _section(readme, "Exit codes")
    assert {int(c) for c in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes | {0}


def test_every_section_that_the_code_names_exists() -> None:
    named = {
        (document, section)
        for path in (ROOT / "stream_scorer").rglob("*.py")
        for document, section in re.findall(
            r"see (docs/\w+\.md)(?:, section '([^']+)')?", path.read_text()
        )
    }
    assert ("docs/RUNBOOK.md", "The scorer left with exit code 8") in named
    for document, section in named:
        text = (ROOT / document).read_text()
        assert not section or f"\n## {section}" in text


@pytest.mark.parametrize("reason", list(RejectReason))
def test_every_reject_reason_is_in_the_runbook(reason: RejectReason) -> None:
    assert f"| `{reason}` |" in _section(RUNBOOK, "Records arrive in the dead-letter topic")


def test_every_flag_is_explained() -> None:
    for flag in Flag:
        assert f"`{str(flag.name).lower()}`" in RUNBOOK


@pytest.mark.parametrize("kind", [*EVENTS, *SUPERVISOR_EVENTS, *ACCESS_EVENTS, *LAG_EVENTS])
def test_every_log_line_is_in_its_section_of_the_runbook(kind: type[Event]) -> None:
    for line in kind.lines():
        assert f"`{line.event}`" in _section(RUNBOOK, line.section)


def test_every_kind_of_feature_is_explained() -> None:
    assert {row.split("`")[1] for row in _table(FEATURES)} == set(KINDS)


def _commands() -> Iterator[Any]:
    for path in DOCUMENTS:
        for block in re.findall(
            r"^ *```(?:sh)?\n(.*?)^ *```", path.read_text(), re.MULTILINE | re.DOTALL
        ):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip().startswith("stream-scorer "):
                    yield pytest.param(line.strip(), id=f"{path.name}: {line.strip()[:60]}")


@pytest.mark.parametrize("line", list(_commands()))
def test_every_command_exists_with_its_options(line: str) -> None:
    words = [word for word in shlex.split(line, comments=True)[1:] if word != "&"]
    command = load(words.pop(0))
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in known | {"--help"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
