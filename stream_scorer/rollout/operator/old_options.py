"""Options of ``rollout start`` that are now keys of the plan file; they work for one more version.

Each option writes its key into the plan's table, and replaces what the file has there. To remove
them, remove this module and its imports.
"""

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stream_scorer.rollout.operator.commands import event_time
from stream_scorer.rollout.plan.judging_rules import ControllerRules
from stream_scorer.rollout.plan.plan_file import DEFAULT_RAMP, Strategy
from stream_scorer.security.keys import read_public


@dataclass(frozen=True, slots=True)
class OldOption:
    """An option that became a key.

    Attributes:
        key: Of the plan file, such as ``controller.up_to``.
        write: Called with the plan's table and all values that the option was given.
        kind: Type of the option.
    """

    key: str
    write: Callable[[dict[str, Any], Any], None]
    kind: Any = list[str] | None


def lay_over(table: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Write the values of old options into the table of a plan file.

    Args:
        table: Changed in place.
        given: All values by option, such as ``{"--ramp": ["1,5"]}``; ``True`` of a flag.

    Raises:
        ValueError: A value cannot be read.
        SettingsError: A time or a key file cannot be read.
    """
    for option, old in OLD_OPTIONS.items():
        if option in given:
            old.write(table, given[option])


def _value(key: str, read: Callable[[str], Any] = str) -> OldOption:
    """Return an option whose last value is written as the key's."""

    def write(table: dict[str, Any], values: Any) -> None:
        *outer, name = key.split(".")
        for each in outer:
            table = table.setdefault(each, {})
        table[name] = read(values[-1])

    return OldOption(key, write)


def _ramp(text: str) -> list[dict[str, Any]]:
    return [{"percent": _number(part)} for part in text.split(",")]


def _write_stage_seconds(table: dict[str, Any], values: Any) -> None:
    if table.get("strategy") == Strategy.CANARY:
        table.setdefault("ramp", [{"percent": percent} for percent in DEFAULT_RAMP])
    stages = table.get("ramp", [])
    table["ramp"] = [{**stage, "least_seconds": int(values[-1])} for stage in stages]


def _write_versions(table: dict[str, Any], values: Any) -> None:
    table["versions"] = {**table.get("versions", {}), **_pairs("--version", values)}


def _write_shares(table: dict[str, Any], values: Any) -> None:
    table["shares"] = {arm: _number(text) for arm, text in _pairs("--share", values).items()}


def _write_manual(table: dict[str, Any], _: Any) -> None:
    controller = table.setdefault("controller", {})
    controller["manual"] = list(controller.get("may", ControllerRules().may))


def _public_base64(text: str) -> str:
    return base64.b64encode(read_public(text, "--controller-key").public_bytes_raw()).decode()


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given:
        arm, equals, value = each.partition("=")
        if not equals or arm in found:
            raise ValueError(f"{option} {each}: write ARM=VALUE, each arm once")
        found[arm] = value
    return found


def _number(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        raise ValueError(f"{text!r} is not a percentage")
    return share


OLD_OPTIONS: Final[Mapping[str, OldOption]] = {
    "--name": _value("name"),
    "--strategy": _value("strategy"),
    "--version": OldOption("versions", _write_versions),
    "--ramp": _value("ramp", _ramp),
    "--stage-seconds": OldOption("ramp.least_seconds", _write_stage_seconds),
    "--share": OldOption("shares", _write_shares),
    "--active": _value("active"),
    "--salt": _value("salt"),
    "--effective-at": _value("effective_at", event_time),
    "--controller-key": _value("controller.key", _public_base64),
    "--controller-may": _value("controller.may", lambda text: text.split(",")),
    "--controller-up-to": _value("controller.up_to", float),
    "--manual": OldOption("controller.manual", _write_manual, bool | None),
}
"""By option; an option that builds on another comes after it."""
