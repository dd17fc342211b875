"""The deployment: which model decides under which plan, and loading both."""

from dataclasses import dataclass
from pathlib import Path

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan, parse_plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.loader import Bundle, load_bundle, models_of
from stream_scorer.models.bundles.plan_signature import check_plan
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.stores.choose_version import choose, find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import (
    PLAN,
    BundleStore,
    read_plan_parts,
    read_plan_text,
    read_signature,
)
from stream_scorer.ports import Start
from stream_scorer.settings import PRODUCTION, Settings


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which model decides under which plan, and where a first run begins.

    Attributes:
        model: NAME or NAME:VERSION.
        plan: Plan file, or folder with ``plan.toml`` and its parts; None: the plan next to the
            model's versions.
        start: Where a group's first run begins; None: a first run is refused.
        accept_cold: Whether features may decide whose history is incomplete.
        warm: NAME or NAME:VERSION of a version that is warmed: its fields and windows are kept,
            too, but it does not decide.
        follow: Whether the control log determines the deployment instead of ``model`` and ``plan``.
    """

    model: str = "fraud"
    plan: Path | None = None
    start: Start | None = None
    accept_cold: bool = False
    warm: str | None = None
    follow: bool = False


@dataclass(frozen=True, slots=True)
class PlanFiles:
    """The unchecked files of a plan.

    Attributes:
        path: The plan file.
        text: Its text.
        parts: Texts of the further files by name; empty for a single file.
    """

    path: Path
    text: str
    parts: dict[str, str]

    def plan(self) -> Plan:
        """Return the plan in these files.

        Raises:
            SettingsError: It is not valid; the message names path and key.
        """
        try:
            return parse_plan(self.text, self.parts)
        except ValueError as error:
            where = self.path.parent if self.parts else self.path
            raise SettingsError(f"plan {where}: {error}", "correct the file") from error


def plan_files(path: Path) -> PlanFiles:
    """Read the files of a plan.

    Args:
        path: The plan file; or a folder with ``plan.toml`` and its parts, such as ``policy.toml``.

    Raises:
        SettingsError: A file cannot be read; or a ``plan.toml`` is named alone although it has
            parts next to it, which would have no effect.
    """
    if path.is_dir():
        return PlanFiles(
            path / PLAN, read_plan_text(path / PLAN, stored=True), read_plan_parts(path)
        )
    text = read_plan_text(path)
    beside = read_plan_parts(path.parent) if path.name == PLAN else {}
    if beside:
        raise SettingsError(
            f"plan {path}: {', '.join(beside)} next to it is part of the plan",
            f"name the folder: {path.parent}",
        )
    return PlanFiles(path, text, {})


def load_plan(path: Path, trust: Trust | None = None) -> Plan:
    """Read a plan.

    Args:
        path: The plan file, or a folder; see :func:`plan_files`.
        trust: The keys by one of which it must be signed; None: it need not be signed.

    Raises:
        SettingsError: It cannot be read, is not signed, or is not valid; the message names file and
            key.
    """
    files = plan_files(path)
    if trust is not None:
        check_plan(files.text, read_signature(files.path), trust, f"plan {path}", files.parts)
    return files.plan()


def plan_trust(settings: Settings) -> Trust | None:
    """Return the keys by which a plan must be signed: in production, those for bundles."""
    return trust_of(settings.models) if settings.mode == PRODUCTION else None


def plan_of(store: BundleStore, model: str, path: Path | None, trust: Trust | None = None) -> Plan:
    """Read a plan; without a path, the one next to a model's versions.

    Args:
        store: The store of the models.
        model: The model's name.
        path: The plan file or folder.
        trust: The keys by one of which it must be signed; None: it need not be signed.

    Raises:
        SettingsError: It cannot be read, is not signed, or is not valid; the message names file and
            key.
        UnavailableError: The store does not answer.
    """
    if path is not None:
        return load_plan(path, trust)
    text, parts = store.plan(model), store.plan_parts(model)
    what = f"plan of {model} in {store.shown}"
    if trust is not None:
        check_plan(text, store.plan_signature(model), trust, what, parts)
    try:
        return parse_plan(text, parts)
    except ValueError as error:
        raise SettingsError(f"{what}: {error}", "correct it") from error


def deployed_plan(settings: Settings, deployment: Deployment) -> Plan:
    """Return the plan of a deployment, for a process that loads no model.

    A deployment with a plan file needs no store.

    Raises:
        ModelError: The store does not have the model.
        SettingsError: As for :func:`plan_of`.
        UnavailableError: The store does not answer.
    """
    if deployment.plan is not None:
        return load_plan(deployment.plan, plan_trust(settings))
    store = open_store(settings.models)
    return plan_of(store, choose(store, deployment.model).name, None, plan_trust(settings))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The verified deployment; ``model`` and ``warming`` are compiled for the same rings."""

    model: Model
    plan: Plan
    warming: Model | None
    bundles: tuple[Bundle, ...]


def load_models(settings: Settings, deployment: Deployment) -> Loaded:
    """Load and verify the deployed model, its plan, and the version to warm.

    Raises:
        ModelError: A bundle is missing or refused.
        SettingsError: The plan or the settings are refused.
        UnavailableError: The store does not answer.
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
    """Load the deployed model and its plan only; raises like :func:`load_models`."""
    loaded = load_models(settings, deployment)
    return loaded.model, loaded.plan
