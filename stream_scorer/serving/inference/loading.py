"""Which bundles answer, and loading them: verified, as ``stream-scorer run`` does."""

from collections.abc import Sequence

from stream_scorer.core.decision.decide import Model
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.errors import SettingsError
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.stores.choose_version import finder
from stream_scorer.models.stores.remote import open_store
from stream_scorer.settings import Settings


def load_served(settings: Settings, deployed: Sequence[str] = ()) -> tuple[Model, ...]:
    """Load and verify the bundles that answer requests.

    No plan is needed: a request has the features, and the bundle the thresholds.

    Args:
        settings: Names the store, the trusted keys and ``serving.inference.models``.
        deployed: ``NAME:VERSION`` or ``NAME`` of what is deployed; used if the setting is empty.

    Raises:
        ModelError: A bundle is missing or refused.
        SettingsError: No bundle is named.
        UnavailableError: The store does not answer.
    """
    references = settings.serving.inference.models or tuple(deployed)
    if not references:
        raise SettingsError(
            "serving.inference.models: empty, and nothing is deployed",
            "name bundles: NAME:VERSION",
        )
    trust = trust_of(settings.models)
    find = finder(open_store(settings.models))
    loaded: dict[tuple[str, str], Model] = {}
    for reference in references:
        bundle = load_bundle(find(reference), trust)
        model = bundle.model(declared_plan(bundle.manifest.features))
        loaded[model.name, model.version] = model
    return tuple(loaded.values())
