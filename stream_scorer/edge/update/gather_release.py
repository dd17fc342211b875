"""The folder of a release, from a store of models."""

from pathlib import Path

from stream_scorer.edge.update.limits import FILE_BYTES_MOST
from stream_scorer.models.bundles.plan_signature import SUFFIX
from stream_scorer.models.stores.choose_version import choose
from stream_scorer.models.stores.deployment import plan_files
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import PLAN, read_signature
from stream_scorer.settings import Settings


def gather_release(settings: Settings, reference: str, plan: Path | None, out: Path) -> None:
    """Write a bundle and its plan as the folder of a release; nothing is verified.

    Args:
        settings: Name the store of models.
        reference: NAME:VERSION, or NAME for its highest version.
        plan: Plan file or folder; None: the plan next to the model's versions.
        out: An empty folder.

    Raises:
        ModelError: There is no such bundle, or a file of it cannot be read or is too large.
        SettingsError: The plan cannot be read.
        UnavailableError: The store does not answer.
    """
    store = open_store(settings.models)
    chosen = choose(store, reference)
    bundle = out / chosen.name / chosen.version
    bundle.mkdir(parents=True)
    place = store.folder(chosen)
    for name in sorted(place.names()):
        (bundle / name).write_bytes(place.read(name, FILE_BYTES_MOST))
    if plan is None:
        text, parts = store.plan(chosen.name), store.plan_parts(chosen.name)
        signature = store.plan_signature(chosen.name)
    else:
        files = plan_files(plan)
        text, parts, signature = files.text, files.parts, read_signature(files.path)
    for name, content in {PLAN: text, **parts}.items():
        (bundle.parent / name).write_text(content)
    if signature is not None:
        (bundle.parent / (PLAN + SUFFIX)).write_bytes(signature)
