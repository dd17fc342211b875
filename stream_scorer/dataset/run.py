"""``dataset build``: a training set from the topics, as it could have been built at a time.

::

    labels ──────→ statements that were known by then ─┐
                                                       ├→ rows with features, label and weight
    decisions of the range, with recorded features ────┘
    or, for other features, the input: folded again ───┘

Both have the engine of the model whose decisions are read.
"""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from stream_scorer.codec.records.event_decoders import EventDecoders
from stream_scorer.core.events.label_table import read_label_policy
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.core.features.declarations import declared_plan
from stream_scorer.core.labelling.contract import LabelPolicy
from stream_scorer.dataset.blocked import read_blocked
from stream_scorer.dataset.build import (
    DatasetBuilder,
    DatasetRange,
    RevisionPlans,
    empty_folder,
)
from stream_scorer.dataset.contract import DatasetOrder, DatasetReport
from stream_scorer.dataset.decisions import DecidedDecoder
from stream_scorer.dataset.document import document_of, write_document
from stream_scorer.dataset.reading import Told, each_of, read, source_of
from stream_scorer.dataset.refold import refold
from stream_scorer.dataset.statements import StatementReader
from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.kafka.loop.patient_read import read_patiently
from stream_scorer.kafka.topics.offsets import admin, partitions
from stream_scorer.models.bundles.bundle import FeatureSpec, Manifest, read_manifest
from stream_scorer.models.stores.choose_version import finder
from stream_scorer.models.stores.deployment import Deployment, deployed_plan
from stream_scorer.models.stores.remote import open_store
from stream_scorer.registry.sources import open_registry
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.settings import Settings
from stream_scorer.training.features import read_features

_MODEL: Final = "fraud"
_KB: Final = 1_024
_MB: Final = 1e6


def build_dataset(
    settings: Settings, order: DatasetOrder, plan: Path | None = None, told: Told | None = None
) -> DatasetReport:
    """Build a dataset from the topics.

    Args:
        settings: The cluster, its topics, the registry and the model store.
        order: What the dataset is to contain.
        plan: Plan of decisions that no revision of a plan made; None: the model's. Features are
            folded by the plan of the newest revision; by this one if there is none.
        told: Called with the progress.

    Raises:
        SettingsError: The order is not possible, the folder is not empty, or a topic is missing.
        ModelError: The model is not in the store.
        RolloutError: The control log is not complete.
        UnavailableError: Broker, registry or store do not answer.
    """
    began = time.monotonic()
    _check(order)
    model = _model_of(settings, order.model or _MODEL)
    kafka, registry = settings.kafka, open_registry(settings.registry)
    own = deployed_plan(settings, Deployment(model.label, plan, None))
    plans = RevisionPlans(_recorded_plans(settings), own)
    _refuse_other_mappings(plans)
    # The decisions' end comes first: what they know, the labels' end has.
    decisions = source_of(kafka, kafka.topics.decisions)
    labels = source_of(kafka, kafka.topics.labels)
    folder = empty_folder(order.out)
    directory = settings.registry.directory
    statements = StatementReader(registry, own, order.as_of_ms, directory)
    each_of(read(kafka, labels, told), statements.add)
    known = statements.known()
    range_ = DatasetRange(
        order.first_ms, order.end_ms, order.as_of_ms, order.sample, model.name, model.names,
        model.has_same_features,
    )  # fmt: skip
    features: Sequence[FeatureSpec] = model.manifest.features
    engine = model.manifest.engine
    sources = {"decisions": decisions, "labels": labels}
    if order.features is not None:
        newest = plans.newest
        features, compiled = read_features(order.features, newest, engine)
        # Its end comes last: each decision's transaction is before it.
        inputs = source_of(kafka, kafka.topics.transactions)
        sources["transactions"] = inputs
        blocked = read_blocked(settings, registry, decisions, inputs.topic, compiled, newest, told)
        refolded = refold(
            read(kafka, inputs, told), EventDecoders(registry, directory), compiled, newest, known,
            (order.first_ms, order.end_ms), blocked,
        )  # fmt: skip
        range_ = replace(
            range_, names=compiled.names, same=lambda _: True, refolded=refolded,
            source=inputs.topic,
        )  # fmt: skip
    builder = DatasetBuilder(folder, range_, known, plans, DecidedDecoder(registry, directory))
    try:
        each_of(read(kafka, decisions, told), builder.add)
        parts = builder.close()
        counts = {
            "rows": builder.rows, "frauds": builder.frauds,
            "genuine": builder.rows - builder.frauds, "left_out": dict(builder.left_out),
            "versions": dict(builder.versions), "statements": len(known.statements),
            "unreadable_labels": known.unreadable,
        }  # fmt: skip
        contents = document_of(
            order={
                "first_ms": order.first_ms, "end_ms": order.end_ms, "as_of_ms": order.as_of_ms,
                "sample": order.sample, "model": model.name,
                "features_of": model.label if order.features is None else "",
                "engine": engine,
            },
            features=features,
            sources=sources,
            policy=LabelPolicy.of(read_label_policy(own.label_policy)),
            counts=counts,
            parts=parts,
        )  # fmt: skip
        digest = write_document(folder, contents)
    except OSError as error:
        raise SettingsError(
            f"dataset {folder}: {error.strerror}", "free the disk, and name an empty folder: --out"
        ) from error
    finally:
        builder.abandon()
    return DatasetReport(
        directory=folder, digest=digest, rows=builder.rows, frauds=builder.frauds,
        genuine=builder.rows - builder.frauds, left_out=dict(builder.left_out),
        seconds=round(time.monotonic() - began, 3), peak_mb=peak_mb(),
    )  # fmt: skip


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, in 10^6 bytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KB / _MB, 1)


def _check(order: DatasetOrder) -> None:
    if order.first_ms >= order.end_ms:
        raise SettingsError("dataset: the range of event times is empty", "give --from and --to")
    if not 0 < order.sample <= 1:
        raise SettingsError(
            f"--sample {order.sample}: not a share of the genuine transactions",
            "write a number above 0, up to 1",
        )


@dataclass(frozen=True, slots=True)
class _Model:
    """The version whose features a dataset has."""

    manifest: Manifest
    manifest_of: Callable[[str], Manifest]

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def label(self) -> str:
        return self.manifest.label

    @property
    def names(self) -> tuple[str, ...]:
        return compile_features(self.manifest.features, Plan()).names

    def has_same_features(self, version: str) -> bool:
        """Return whether another version has these features; False if it is not in the store."""
        if version == self.manifest.version:
            return True
        try:
            other = self.manifest_of(f"{self.name}:{version}")
        except ModelError:
            return False
        return _meaning(other) == _meaning(self.manifest)


def _meaning(manifest: Manifest) -> tuple[object, ...]:
    """Return declarations without their texts for people, and what the engine makes of them."""
    features = manifest.features
    compiled = compile_features(features, declared_plan(features), manifest.engine)
    declared = [{k: v for k, v in spec.items() if k != "text"} for spec in features]
    return declared, compiled.identities


def _model_of(settings: Settings, reference: str) -> _Model:
    find = finder(open_store(settings.models))

    def manifest_of(label: str) -> Manifest:
        return read_manifest(find(label))

    return _Model(manifest_of(reference), manifest_of)


def _recorded_plans(settings: Settings) -> dict[int, Plan]:
    """Return the plan of each revision of the control log; empty if there is no log."""
    try:
        partitions(admin(settings.kafka), settings.kafka, [settings.kafka.topics.rollout])
    except SettingsError:
        return {}
    control = ControlLog(settings)
    try:
        read_patiently(control.refresh)
        return {number: each.shared for number, each in control.log.routings.items()}
    finally:
        control.close()


def _refuse_other_mappings(plans: RevisionPlans) -> None:
    """Refuse revisions that read labels by another mapping: one pass reads them by one."""
    for number, plan in plans.plans.items():
        if plan.labels != plans.other.labels:
            raise SettingsError(
                f"dataset: revision {number} reads labels by another mapping than the plan",
                "give the plan with the mapping of the labels of the range: --plan",
            )
