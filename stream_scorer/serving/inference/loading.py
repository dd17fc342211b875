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


def load_served(settings: Settings, asked: Sequence[str] = ()) -> tuple[Model, ...]:
    """Load and verify the bundles that answer requests.

    No plan is needed: a request has the features, and the bundle the thresholds.

    Args:
        settings: Names the store, the trusted keys and ``serving.inference.models``.
        asked: ``NAME:VERSION``, or ``NAME`` for its newest version; empty: those of the setting.

    Raises:
        ModelError: A bundle is missing or refused.
        SettingsError: No bundle is named.
        UnavailableError: The store does not answer.
    """
    references = tuple(asked) or settings.serving.inference.models
    if not references:
        raise SettingsError(
            "serving.inference.models: no model is named", "give --model NAME:VERSION"
        )
    trust = trust_of(settings.models)
    find = finder(open_store(settings.models))
    loaded: dict[tuple[str, str], Model] = {}
    for reference in references:
        bundle = load_bundle(find(reference), trust)
        model = bundle.model(declared_plan(bundle.manifest.features))
        loaded[model.name, model.version] = model
    return tuple(loaded.values())
