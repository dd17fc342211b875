"""From a plan file and options to the plan that ``rollout start`` writes."""

import base64
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stream_scorer.core.decision.routing import CHAMPION
from stream_scorer.core.events.plan import parse_plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import choose, find
from stream_scorer.rollout.plan.judging_rules import ControllerRules
from stream_scorer.rollout.plan.plan_file import RolloutPlan, Strategy, plan_of, plan_table
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.security.keys import read_public
from stream_scorer.settings import Settings

_SALT_BYTES = 16
_RAMP = "1,5,25,50,100"


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line says; it is laid over the file.

    Attributes:
        file: TOML; None for none.
        name: The rollout's.
        reason: Why it is begun.
        strategy: How versions share the traffic.
        versions: ARM=NAME:VERSION.
        ramp: Per cents with commas between them; for a canary 1,5,25,50,100 if nobody says.
        stage_seconds: How long each stage lasts at least.
        shares: ARM=PERCENT.
        salt: Of the buckets.
        effective_at: Event time, ms.
        active: Of blue and green, who decides first.
        controller: Its public key: a PEM file, or base64.
        may: What it may do, with commas between.
        up_to: Per cent up to which it steps by itself.
        manual: Whether a person approves whatever the controller does.
    """

    file: Path | None = None
    name: str | None = None
    reason: str | None = None
    strategy: str | None = None
    versions: Sequence[str] = ()
    ramp: str | None = None
    stage_seconds: int | None = None
    shares: Sequence[str] = ()
    salt: str | None = None
    effective_at: int | None = None
    active: str | None = None
    controller: str | None = None
    may: str | None = None
    up_to: float | None = None
    manual: bool = False


def planned(settings: Settings, given: Given, state: RolloutState) -> RolloutPlan:
    """Return the plan that is meant.

    What nobody says is taken from where the rollout is: the champion, and what all arms share. For
    a first plan, that is what ``plan.toml`` beside the champion's versions says.

    Args:
        settings: Where the bundles are.
        given: File and options.
        state: Where the rollout is.

    Raises:
        SettingsError: File or options make no plan; names the key.
        ModelError: There is no model of the champion's name.
        UnavailableError: The store does not answer.
    """
    what = "options" if given.file is None else f"plan {given.file}"
    try:
        table = {} if given.file is None else plan_table(given.file.read_text(encoding="utf-8"))
        _hold_shapes(table)
        _lay_over(table, given)
        if table.get("strategy") != Strategy.BLUE_GREEN:
            _name_champion(table, state)
        table["shared"] = {**_shared(settings, table, state), **table.get("shared", {})}
        if not table.get("salt"):
            table["salt"] = secrets.token_hex(_SALT_BYTES)
        return plan_of(table)
    except OSError as error:
        raise SettingsError(f"{what}: {error.strerror}", "name a file: --plan") from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{what}: {error}", "correct it; see docs/PLANS.md") from error


def verify(settings: Settings, plan: RolloutPlan) -> None:
    """Load every version of a plan, as a scorer will.

    Raises:
        ModelError: A bundle is not there or is refused.
        UnavailableError: The store does not answer.
    """
    store, trust = open_store(settings.models), trust_of(settings.models)
    for label in sorted(set(plan.versions.values())):
        load_bundle(find(store, label), trust)


def _hold_shapes(table: Mapping[str, Any]) -> None:
    """Refuse what options could not be laid over; all else the plan itself refuses."""
    for name in ("versions", "shares", "controller", "shared"):
        if not isinstance(table.get(name, {}), dict):
            raise TypeError(f"{name}: must be a table")
    ramp = table.get("ramp", [])
    if not isinstance(ramp, list) or not all(isinstance(stage, dict) for stage in ramp):
        raise ValueError("ramp: must be a list of tables")


def _lay_over(table: dict[str, Any], given: Given) -> None:
    """Lay the options over the file."""
    for name in ("name", "reason", "strategy", "salt", "effective_at", "active"):
        if (value := getattr(given, name)) is not None:
            table[name] = value
    if given.versions:
        table["versions"] = {**table.get("versions", {}), **_pairs("--version", given.versions)}
    if given.shares:
        table["shares"] = {a: _number(p) for a, p in _pairs("--share", given.shares).items()}
    ramp = given.ramp
    if table.get("strategy") == Strategy.CANARY and "ramp" not in table:
        ramp = _RAMP if ramp is None else ramp
    if ramp is not None:
        table["ramp"] = [{"percent": _number(part)} for part in ramp.split(",")]
    if given.stage_seconds is not None:
        stages = table.get("ramp", [])
        table["ramp"] = [{**stage, "least_seconds": given.stage_seconds} for stage in stages]
    if controller := _controller(given, table.get("controller", {})):
        table["controller"] = controller


def _controller(given: Given, controller: Mapping[str, Any]) -> dict[str, Any]:
    """Return what file and options say of the controller; nothing for no controller."""
    found = dict(controller)
    if given.controller is not None:
        key = read_public(given.controller, "--controller-key").public_bytes_raw()
        found["key"] = base64.b64encode(key).decode()
    if given.may is not None:
        found["may"] = given.may.split(",")
    if given.up_to is not None:
        found["up_to"] = given.up_to
    if given.manual:
        found["manual"] = list(found.get("may", ControllerRules().may))
    return found


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
        raise ValueError(f"{text!r} is no number of per cents")
    return share


def _name_champion(table: dict[str, Any], state: RolloutState) -> None:
    versions = table.get("versions", {})
    if CHAMPION not in versions and state.routing is not None:
        table["versions"] = {CHAMPION: state.routing.versions[CHAMPION].label, **versions}


def _shared(settings: Settings, table: Mapping[str, Any], state: RolloutState) -> dict[str, Any]:
    """Return what all arms share as long as nobody says otherwise."""
    if state.plan is not None:
        return dict(state.plan.shared)
    versions = table.get("versions", {})
    first = versions.get(CHAMPION) or versions.get(table.get("active") or "blue") or ""
    if not isinstance(first, str) or not first:
        return {}
    store = open_store(settings.models)
    try:
        name = choose(store, first.partition(":")[0]).name
        shared = asdict(parse_plan(store.plan(name)))
    except ValueError as error:
        raise ValueError(f"plan.toml in {store.shown}: {error}") from error
    del shared["revision"]
    return shared
