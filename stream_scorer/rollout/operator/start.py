"""Completes a plan file to the plan that ``rollout start`` writes."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stream_scorer.codec.records.record_key import refuse_unkeyed
from stream_scorer.core.decision.routing import CHAMPION, Version
from stream_scorer.core.events.label_table import MATURE, read_label_policy
from stream_scorer.core.events.plan import PARTS, table_of
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.bundles.loader import check_features, load_bundle, models_under
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.choose_version import choose, find
from stream_scorer.models.stores.deployment import plan_of as plan_file_of
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import read_plan_text
from stream_scorer.rollout.log.load_versions import cold
from stream_scorer.rollout.operator.old_options import lay_over
from stream_scorer.rollout.plan.plan_file import (
    DEFAULT_RAMP,
    RolloutPlan,
    Strategy,
    plan_of,
    plan_table,
)
from stream_scorer.rollout.plan.rollout_state import RolloutState
from stream_scorer.settings import Settings

_SALT_BYTES = 16


def planned(
    settings: Settings,
    state: RolloutState,
    file: Path | None,
    reason: str = "",
    old: Mapping[str, Any] = MappingProxyType({}),
) -> RolloutPlan:
    """Return the plan of a file, completed.

    The default champion is the version that decides now. The default of what all arms share is what
    they share now; for the first plan, it is the ``plan.toml`` next to the champion's versions.

    Args:
        settings: Where the bundles are.
        state: The state of the rollout.
        file: TOML; None if old options have all of it.
        reason: Why it begins; empty: the reason in the file.
        old: Values of old options, see ``old_options``.

    Raises:
        SettingsError: It is not a valid plan; names the key.
        ModelError: There is no model of the champion's name.
        UnavailableError: The store does not answer.
    """
    what = "options" if file is None else f"plan {file}"
    try:
        table = {} if file is None else plan_table(file.read_text(encoding="utf-8"))
        _hold_shapes(table)
        lay_over(table, old)
        if reason:
            table["reason"] = reason
        if table.get("strategy") == Strategy.CANARY:
            table.setdefault("ramp", [{"percent": percent} for percent in DEFAULT_RAMP])
        if table.get("strategy") != Strategy.BLUE_GREEN:
            _name_champion(table, state)
        _read_parts(table, file)
        given = table.get("shared", {})
        before = _shared(settings, table, state)
        if "events" in given:
            # Another mapping has its own extra fields.
            before.pop("extras", None)
        table["shared"] = {**before, **given}
        if not table.get("salt"):
            table["salt"] = secrets.token_hex(_SALT_BYTES)
        return _mature_enough(plan_of(table))
    except OSError as error:
        raise SettingsError(f"{what}: {error.strerror}", "name a file: --plan") from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{what}: {error}", "correct it; see docs/PLANS.md") from error


def _mature_enough(plan: RolloutPlan) -> RolloutPlan:
    """Return the plan; refuse one that judges transactions before they count as genuine."""
    policy = LabelPolicy.of(read_label_policy(plan.shared_plan(0).label_policy))
    if policy.unlabelled == MATURE and plan.guard.maturity_seconds * 1_000 < policy.after_ms:
        days = policy.after_ms / 86_400_000
        raise ValueError(
            f"guard.maturity_seconds: {plan.guard.maturity_seconds} is less than "
            f"label_policy.after_days, {days:g} days: what has no label would never count"
        )
    return plan


def verify(settings: Settings, plan: RolloutPlan, state: RolloutState) -> list[str]:
    """Load every version of a plan, as a scorer will.

    Args:
        settings: Where the bundles are.
        plan: The plan.
        state: The state of the rollout.

    Returns:
        Versions for which the running scorers do not have the history, and what to do; empty if no
        such version is known.

    Raises:
        SettingsError: By the shared plan, records are not keyed by the customer.
        ModelError: A bundle is missing or refused, or the plan does not have what its features
            need.
        UnavailableError: The store does not answer.
    """
    shared = plan.shared_plan(0)
    refuse_unkeyed(shared, settings.kafka.topics.transactions)
    store, trust = open_store(settings.models), trust_of(settings.models)
    trust = trust.with_granted(state.trained)
    bundles = {
        label: load_bundle(find(store, label), trust)
        for label in sorted(set(plan.versions.values()))
    }
    for bundle in bundles.values():
        check_features(bundle.manifest, shared)
    routing = state.routing
    if routing is None:
        return []
    try:
        decided = [
            bundles.get(version.label) or load_bundle(find(store, version.label), trust)
            for version in dict.fromkeys(routing.versions.values())
        ]
        rings = models_under([(each, routing.shared) for each in decided])[0].features.engine
    except ModelError:
        # A version that decides now is not in this store, so the rings' layout is not known here.
        return []
    found = []
    for bundle in bundles.values():
        (model,) = models_under([(bundle, shared)], rings)
        if lacking := rings.lacks(model.features.engine):
            version = Version(model.name, model.version)
            served = version in routing.versions.values()
            found.append(str(cold(version, lacking, served=served)))
    return found


def _hold_shapes(table: Mapping[str, Any]) -> None:
    """Refuse a table that cannot be completed; all other checks are the plan's."""
    for name in ("versions", "shares", "controller", "shared"):
        if not isinstance(table.get(name, {}), dict):
            raise TypeError(f"{name}: must be a table")
    ramp = table.get("ramp", [])
    if not isinstance(ramp, list) or not all(isinstance(stage, dict) for stage in ramp):
        raise ValueError("ramp: must be a list of tables")


def _name_champion(table: dict[str, Any], state: RolloutState) -> None:
    versions = table.get("versions", {})
    if CHAMPION not in versions and state.routing is not None:
        table["versions"] = {CHAMPION: state.routing.versions[CHAMPION].label, **versions}


def _shared(settings: Settings, table: Mapping[str, Any], state: RolloutState) -> dict[str, Any]:
    """Return the default of what all arms share."""
    if state.plan is not None:
        return dict(state.plan.shared)
    versions = table.get("versions", {})
    first = versions.get(CHAMPION) or versions.get(table.get("active") or "blue") or ""
    if not isinstance(first, str) or not first:
        return {}
    store = open_store(settings.models)
    name = choose(store, first.partition(":")[0]).name
    shared = table_of(plan_file_of(store, name, None))
    del shared["revision"]
    return shared


def _read_parts(table: Mapping[str, Any], file: Path | None) -> None:
    """Replace the paths of policy.toml and events.toml by their tables.

    The paths are relative to the rollout plan.

    Raises:
        ValueError: A file is not TOML.
    """
    shared = table.get("shared", {})
    for part in PARTS.values():
        if not isinstance(shared.get(part), str):
            continue
        path = Path(shared[part]) if file is None else file.parent / shared[part]
        try:
            shared[part] = plan_table(read_plan_text(path))
        except ValueError as error:
            raise ValueError(f"shared.{part}: {path}: {error}") from None
