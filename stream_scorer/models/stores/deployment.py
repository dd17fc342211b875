"""What is deployed: its model, its plan, and the versions that are loaded for it."""

from dataclasses import dataclass
from pathlib import Path

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan, parse_plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.loader import Bundle, load_bundle, models_of
from stream_scorer.models.bundles.plan_signature import check_plan
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import BundleStore, choose, find, read_signature
from stream_scorer.ports import Start
from stream_scorer.settings import PRODUCTION, Settings


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is deployed: which model decides under which plan, and where a first run begins.

    Attributes:
        model: NAME or NAME:VERSION.
        plan: Plan file; None takes ``plan.toml`` beside the model's versions.
        start: Where a group's first run begins; None refuses to guess.
        accept_cold: Whether features may decide that lack history.
        warm: NAME or NAME:VERSION whose fields and windows are kept too; it does not decide.
        follow: Whether the control log says what is deployed, instead of ``model`` and ``plan``.
    """

    model: str = "fraud"
    plan: Path | None = None
    start: Start | None = None
    accept_cold: bool = False
    warm: str | None = None
    follow: bool = False


def load_plan(path: Path, trust: Trust | None = None) -> Plan:
    """Read a plan file.

    Args:
        path: The file.
        trust: Whose signature it needs; None for none.

    Raises:
        SettingsError: It cannot be read, is not signed, or says something impossible; names file
            and key.
    """
    try:
        text = path.read_text()
        if trust is not None:
            check_plan(text, read_signature(path), trust, f"plan {path}")
        return parse_plan(text)
    except OSError as error:
        raise SettingsError(f"plan {path}: {error.strerror}", "name a file: --plan") from error
    except ValueError as error:
        raise SettingsError(f"plan {path}: {error}", "correct the file") from error


def plan_trust(settings: Settings) -> Trust | None:
    """Return whose signature a plan needs: in production one of those that bundles need."""
    return trust_of(settings.models) if settings.mode == PRODUCTION else None


def plan_of(store: BundleStore, model: str, path: Path | None, trust: Trust | None = None) -> Plan:
    """Read a plan file, or without one the plan that lies beside a model's versions.

    Args:
        store: Of the models.
        model: Its name.
        path: The file.
        trust: Whose signature it needs; None for none.

    Raises:
        SettingsError: It cannot be read or says something impossible; names file and key.
        UnavailableError: The store does not answer.
    """
    if path is not None:
        return load_plan(path, trust)
    text = store.plan(model)
    if trust is not None:
        check_plan(text, store.plan_signature(model), trust, f"plan of {model} in {store.shown}")
    try:
        return parse_plan(text)
    except ValueError as error:
        raise SettingsError(f"plan of {model} in {store.shown}: {error}", "correct it") from error


def deployed_plan(settings: Settings, deployment: Deployment) -> Plan:
    """Return the plan of a deployment, for a process that loads no model; raises as ``plan_of``."""
    store = open_store(settings.models)
    model = choose(store, deployment.model).name
    return plan_of(store, model, deployment.plan, plan_trust(settings))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was deployed, verified and compiled for the same rings."""

    model: Model
    plan: Plan
    warming: Model | None
    bundles: tuple[Bundle, ...]


def load_models(settings: Settings, deployment: Deployment) -> Loaded:
    """Load and verify the deployed model, its plan, and the version that is to be warmed.

    Raises:
        ModelError: A bundle is missing or refused.
        SettingsError: The plan is refused.
    """
    trust, store = trust_of(settings.models), open_store(settings.models)
    chosen = choose(store, deployment.model)
    bundle = load_bundle(store.folder(chosen), trust)
    plan = plan_of(store, chosen.name, deployment.plan, plan_trust(settings))
    if deployment.warm is None:
        return Loaded(bundle.model(plan), plan, None, (bundle,))
    next_one = load_bundle(find(store, deployment.warm), trust)
    model, warming = models_of((bundle, next_one), plan)
    return Loaded(model, plan, warming, (bundle, next_one))


def load_model(settings: Settings, deployment: Deployment) -> tuple[Model, Plan]:
    """Load the deployed model and its plan alone; raises like :func:`load_models`."""
    loaded = load_models(settings, deployment)
    return loaded.model, loaded.plan
