"""A model that aggregates an extra field, and mappings that define the field in two ways."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from stream_scorer.core.decision.routing import Routing, Version
from stream_scorer.core.events.plan import Plan, plan_from
from stream_scorer.models.bundles.loader import Bundle, load_bundle, models_under
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.rollout.log.ready_versions import ReadyVersions
from tests.support.models.bundle_cases import FRAUD, MODELS, ROWS, candidate

FIELDS: dict[str, Any] = {
    "transaction_id": "id", "event_time": {"path": "ts", "unit": "ms"}, "customer_id": "card",
    "amount": {"path": "sum", "unit": "minor"}, "currency": {"constant": "EUR"},
}  # fmt: skip
FEATURES: Any = (
    {"name": "AMOUNT", "kind": "passthrough", "field": "amount"},
    {"name": "GROSS", "kind": "passthrough", "field": "gross"},
    {"name": "SD", "kind": "stddev", "field": "gross", "window": "7d"},
)
VERSION = Version("fraud", "1.0.0")


def plan_of(path: str | None, **definition: Any) -> Plan:
    """Return a plan that finds the extra field ``gross`` at a path; None: it does not define it."""
    events: dict[str, Any] = {"record": {"format": "json"}, "fields": FIELDS}
    if path is not None:
        events["extra"] = {"gross": {"path": path, "type": "double", **definition}}
    return plan_from({"events": events})


def revision(number: int, shared: Plan, effective_at: int | None = None) -> Routing:
    """Return a revision by which the one version decides everything."""
    routing = Routing.alone(VERSION, replace(shared, revision=number))
    return replace(routing, effective_at=effective_at)


def write_model(store: Path) -> Bundle:
    """Write a bundle whose model has the features above; what it decides does not matter."""
    made = candidate(MODELS["decision_tree"].fit(ROWS, FRAUD))
    write_bundle(store, replace(made, features=FEATURES), ROWS)
    return load_bundle(store / "fraud" / "1.0.0")


def ready(bundle: Bundle, *routings: Routing) -> ReadyVersions:
    """Return what a scorer holds that has loaded these revisions."""
    models = models_under([(bundle, each.shared) for each in routings])
    pairs = zip(routings, models, strict=True)
    return ReadyVersions({each.revision: {VERSION: model} for each, model in pairs}, routings)
