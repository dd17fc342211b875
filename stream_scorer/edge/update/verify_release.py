"""Whether a device can decide with a release: bundle, signatures, golden rows, plan, rings."""

from dataclasses import dataclass
from pathlib import Path

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import Engine, compile_features
from stream_scorer.edge.update.refusals import UpdateGoldenError, UpdateUnfitError
from stream_scorer.errors import EdgeError, ModelError, SettingsError, StreamScorerError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.loader import (
    Bundle,
    bundle_predictor,
    check_features,
    check_version,
    model_of,
    models_under,
    needed_files,
    reference_of,
)
from stream_scorer.models.bundles.read_files import LocalFolder
from stream_scorer.models.bundles.same_bits import check_same_bits
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.bundles.verify_files import read_seal
from stream_scorer.models.stores.deployment import plan_of, plan_trust
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.settings import Settings


@dataclass(frozen=True, slots=True)
class VerifiedRelease:
    """A release that a device can decide with.

    Attributes:
        bundle: Its bundle.
        plan: Its plan.
        model: The model, compiled under the plan.
    """

    bundle: Bundle
    plan: Plan
    model: Model


def verify_release(
    folder: Path, settings: Settings, serving: Path | None = None, *, terminals: bool = False
) -> VerifiedRelease:
    """Verify a release and load it.

    Args:
        folder: A folder of a release; see :mod:`stream_scorer.edge.update.release`.
        settings: The trusted keys, and whether plans must be signed.
        serving: The folder of the release whose rings the device has; None: it has none.
        terminals: Whether a device without rings may have the history of terminals.

    Raises:
        UpdateGoldenError: The bundle does not score as at its training.
        UpdateUnfitError: Bundle or plan are refused, its probabilities depend on the machine, or
            the rings cannot serve the release.
    """
    trust, of_plan = trust_of(settings.models), plan_trust(settings)
    try:
        bundle, plan = _loaded(folder, trust, of_plan)
        if serving is None:
            (model,) = models_under([(bundle, plan)])
            # Only an export brings the rows of terminals.
            if model.features.by_terminal and not terminals:
                raise UpdateUnfitError(f"{bundle.manifest.label}: needs the history of terminals")
            return VerifiedRelease(bundle, plan, model)
        rings = _rings(serving, trust, of_plan)
        (model,) = models_under([(bundle, plan)], rings)
    except UpdateGoldenError:
        raise
    except (EdgeError, ModelError, SettingsError) as error:
        raise UpdateUnfitError(error.what, error.fix) from error
    if lacking := rings.lacks(model.features.engine):
        raise UpdateUnfitError(
            f"{bundle.manifest.label}: {lacking}", "provision the device again with this release"
        )
    return VerifiedRelease(bundle, plan, model)


def _place(store: FolderStore) -> LocalFolder:
    found = store.bundles()
    if len(found) != 1:
        raise ModelError(f"release {store.shown}: has {len(found)} bundles, not one", "publish one")
    return store.folder(found[0])


def _rings(folder: Path, trust: Trust, of_plan: Trust | None) -> Engine:
    """Return what a release's rings keep. Its golden rows do not matter here."""
    store = FolderStore(folder)
    manifest = read_seal(_place(store), trust).manifest
    plan = plan_of(store, manifest.name, None, of_plan)
    check_features(manifest, plan)
    return compile_features(manifest.features, plan, manifest.engine).engine


def _loaded(folder: Path, trust: Trust, of_plan: Trust | None) -> tuple[Bundle, Plan]:
    store = FolderStore(folder)
    place = _place(store)
    seal = read_seal(place, trust)
    manifest = seal.manifest
    check_version(manifest)
    check_same_bits(manifest)
    files = needed_files(place, seal)
    predictor = bundle_predictor(model_of(files.model, manifest, trust.types), manifest)
    try:
        golden.check(files.golden, predictor, manifest.label)
    except StreamScorerError as error:
        raise UpdateGoldenError(error.what, error.fix) from error
    reference = None if files.reference is None else reference_of(files.reference, manifest)
    return Bundle(seal, predictor, place, trust, reference), plan_of(
        store, manifest.name, None, of_plan
    )
