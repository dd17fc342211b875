"""``models reference``: write a version again with a reference of drift detection, from data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_scorer.core.mapping.mapping import EventMapping
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import CARD, REFERENCE, Manifest
from stream_scorer.models.bundles.loader import load_bundle
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.bundles.verify_files import verified_files
from stream_scorer.models.bundles.writer import new_directory, refuse_unwritable, write_copy
from stream_scorer.models.reference.build import BuiltReference, ReferenceJob
from stream_scorer.models.reference.format import digest_of, write_reference
from stream_scorer.models.stores.choose_version import choose
from stream_scorer.models.stores.deployment import plan_of
from stream_scorer.models.stores.remote import folder_for, open_store
from stream_scorer.settings import Settings
from stream_scorer.training.data import take
from stream_scorer.training.days import Days
from stream_scorer.training.reference_rows import (
    DecidingModel,
    ReferenceDays,
    make_reference,
    reference_rows,
)


@dataclass(frozen=True, slots=True)
class BundleReferenceJob:
    """The parameters of ``models reference``.

    Attributes:
        model: NAME:VERSION of a bundle; it does not change.
        data: Labelled transactions, as for training.
        version: Version of the new bundle.
        out: The store of the new bundle; None: the store of the old one.
        plan: Plan file or folder; None: the plan next to the model's versions.
        train: Days on which the model was fitted; None: those of the manifest.
        held: Days for score and outcome; None: the validation and test days of the manifest.
        sort: Whether the data may be out of order; they are then sorted.
        most_rejected: Maximum share of the data that the stream may reject.
        labels: Where the data have their labels; None: in ``is_fraud`` and ``label_time``.
    """

    model: str
    data: Path
    version: str
    out: Path | None = None
    plan: Path | None = None
    train: Days | None = None
    held: Days | None = None
    sort: bool = False
    most_rejected: float = 0.01
    labels: EventMapping | None = None


def add_reference(
    settings: Settings, job: BundleReferenceJob, lap: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Write a new version with the files of an old one, and a reference.

    The model, its thresholds and its golden rows are the same bytes, so the content hash is equal.

    Args:
        settings: The store, and what is trusted.
        job: The versions, the data, the days.
        lap: Called with each day of the data, as an ISO date.

    Returns:
        The report: both labels, the new directory, the content hash, the digest of the reference,
        and the numbers of its fields, streams, segments, weeks, rows and pooled streams.

    Raises:
        ModelError: The old bundle is refused, or the new version exists or cannot be written.
        SettingsError: Plan or data are refused, or the days are not in the data.
        UnavailableError: The store does not answer.
    """
    store = open_store(settings.models)
    chosen = choose(store, job.model)
    trust = trust_of(settings.models)
    bundle = load_bundle(store.folder(chosen), trust)
    manifest = bundle.manifest
    out = folder_for(job.out, settings.models)
    refuse_unwritable(new_directory(out, manifest.name, job.version))
    plan = plan_of(store, chosen.name, job.plan)
    model = bundle.model(plan)
    data = take(
        job.data, model.features, plan, sort=job.sort, most_rejected=job.most_rejected,
        labels=job.labels,
    )  # fmt: skip
    deciding = DecidingModel(model.predictor, model.thresholds, model.on_model_error)
    made_for = ReferenceJob(
        manifest.name, job.version, manifest.features, model.features, plan
    )  # fmt: skip
    rows = reference_rows(data, _days(job, manifest), deciding, made_for)
    built = make_reference(rows, lap)
    text = write_reference(built.reference)
    files = dict(verified_files(bundle.folder, bundle.seal))
    new = manifest.model_copy(update={"version": job.version})
    if CARD in files:
        title = (f"# {manifest.label}\n".encode(), f"# {new.label}\n".encode())
        files[CARD] = files[CARD].replace(*title, 1)
    directory = write_copy(out, new, {**files, REFERENCE: text})
    # It is not signed yet.
    written = load_bundle(directory, Trust(types=trust.types))
    if written.manifest.content_hash != manifest.content_hash:
        raise ModelError(f"bundle {new.label}: decides otherwise than {manifest.label}")
    return {
        "old": manifest.label,
        "new": new.label,
        "directory": str(directory),
        "content_hash": written.manifest.content_hash,
        "reference_digest": digest_of(text),
        **_counts(built),
    }


def _days(job: BundleReferenceJob, manifest: Manifest) -> ReferenceDays:
    training = manifest.training
    fitted = job.train
    if fitted is None and training.train is not None:
        fitted = Days(training.train.first_day, training.train.last_day)
    if job.held is not None:
        return ReferenceDays(fitted, (job.held,))
    judged = (training.validation, training.test)
    periods = [each.period for each in judged if each is not None]
    return ReferenceDays(fitted, [Days(each.first_day, each.last_day) for each in periods])


def _counts(built: BuiltReference) -> dict[str, Any]:
    reference = built.reference
    seasons = [each.season.weeks for each in reference.streams if each.season is not None]
    return {
        "fields": len(reference.fields),
        "streams": len(reference.streams),
        "segments": len(reference.plan_segments) + 1,
        "weeks": int(max(seasons, default=0)),
        "rows_features": built.rows_features,
        "rows_scores": built.rows_scores,
        "pooled": sum(bool(each.pooled_from) for each in reference.streams),
        "left_out": list(built.left_out),
    }
