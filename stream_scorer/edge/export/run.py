"""``export``: write a model as a folder that decides without stream-scorer."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from stream_scorer.core.events.plan import Plan
from stream_scorer.core.events.policy_table import read_policy
from stream_scorer.edge.export.documents import export_json, signature_json
from stream_scorer.edge.export.golden_rows import expected_rows
from stream_scorer.edge.export.order import ExportOrder, ExportParts, ExportReport
from stream_scorer.edge.export.policy_image import policy_image
from stream_scorer.edge.export.table_image import image_of
from stream_scorer.edge.export.targets import DIFFERENCES, MODULE, TARGETS
from stream_scorer.edge.files.export_folder import EXPORT, SIGNATURE
from stream_scorer.errors import EdgeError, SettingsError
from stream_scorer.models.bundles import golden
from stream_scorer.models.bundles.loader import Bundle, load_bundle, needed_files
from stream_scorer.models.bundles.same_bits import check_same_bits
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.predictors.predictors import ScoringPredictor
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.deployment import plan_of, plan_trust
from stream_scorer.models.stores.remote import open_store
from stream_scorer.settings import Settings


def export(settings: Settings, order: ExportOrder) -> ExportReport:
    """Write a bundle as a folder of a target.

    Args:
        settings: The store, and what is trusted.
        order: What to export, and where to.

    Raises:
        EdgeError: The bundle is not one that a device can decide with.
        ModelError: The bundle is refused.
        SettingsError: The plan, the target or the folder is refused.
        UnavailableError: The store does not answer.
    """
    started = time.monotonic()
    if order.target not in TARGETS:
        raise SettingsError(f"target {order.target!r}: unknown", f"known: {', '.join(TARGETS)}")
    if order.out.exists():
        raise SettingsError(f"{order.out}: exists already", "name another --out")
    store = open_store(settings.models)
    bundle = load_bundle(find(store, order.reference), trust_of(settings.models))
    plan = plan_of(store, bundle.manifest.name, order.plan, plan_trust(settings))
    parts = export_parts(bundle, plan, equal=order.target != "onnx")
    files = TARGETS[order.target](parts)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    files[EXPORT] = export_json(parts, order.target, hashes)
    if order.key is not None:
        files[SIGNATURE] = signature_json(files[EXPORT], order.key)
    _place(order.out, files)
    module = files.get(MODULE)
    return ExportReport(
        model=bundle.manifest.label,
        target=order.target,
        folder=order.out,
        files=hashes,
        table_bytes=len(parts.tables),
        golden_rows=len(parts.golden.rows),
        seconds=time.monotonic() - started,
        code_bytes=None if module is None else len(module),
        differences=json.loads(files[DIFFERENCES]) if DIFFERENCES in files else None,
    )


def export_parts(bundle: Bundle, plan: Plan, *, equal: bool = True) -> ExportParts:
    """Return what every target of a bundle is made from.

    Args:
        bundle: The bundle.
        plan: The plan whose policy decides.
        equal: Whether the bits of probabilities must be the stream's on every machine.

    Raises:
        EdgeError: The bundle is not one that a device can decide with.
        ModelError: The plan and the bundle's features do not fit together.
    """
    manifest, predictor = bundle.manifest, bundle.predictor
    label = f"bundle {manifest.label}"
    if not isinstance(predictor, ScoringPredictor):
        raise EdgeError(
            f"{label}: an ONNX model, which has no tables", "export a model of another library"
        )
    model = bundle.model(plan)
    if model.features.by_terminal:
        raise EdgeError(
            f"{label}: has features of terminals, whose history a device does not have",
            "export a version that does not have such features",
        )
    if equal:
        check_same_bits(manifest)
    policy = policy_image(plan, model.thresholds, model.on_model_error)
    table = read_policy(plan.policy, plan.exponent, plan.extras) if plan.policy else None
    data = needed_files(bundle.folder, bundle.seal).golden
    base = golden.read(data, predictor.feature_count, manifest.label).features
    return ExportParts(
        manifest=manifest,
        plan=plan,
        features=model.features,
        policy=policy,
        predictor=predictor,
        tables=image_of(predictor.model, policy, model.features.names),
        golden=expected_rows(predictor, base, policy, () if table is None else table.segments),
    )


def _place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files next to the folder's place, then move them there in one step.

    Raises:
        SettingsError: The folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        try:
            for name, data in files.items():
                (making / name).parent.mkdir(exist_ok=True)
                (making / name).write_bytes(data)
            making.chmod(0o755)
            making.rename(folder)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
    except OSError as error:
        raise SettingsError(
            f"{folder}: cannot be written ({error.strerror or error})", "name another --out"
        ) from error
