"""The documents of plain values that the ``models`` commands print about bundles."""

from collections.abc import Mapping
from typing import Any

from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.bundle import REFERENCE, Manifest
from stream_scorer.models.bundles.bundle_signature import BundleSigner
from stream_scorer.models.bundles.loader import load_bundle, reference_of
from stream_scorer.models.bundles.read_files import Folder
from stream_scorer.models.bundles.trust import Trust, trust_of
from stream_scorer.models.bundles.verify_files import BundleContents, read_seal, refuse_other
from stream_scorer.models.reference.format import BYTES_MOST
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store
from stream_scorer.models.stores.store import Stored
from stream_scorer.settings import Settings

_JUDGED = ("validation", "test", "test_new_cards")
"""Keys of ``training`` with a period and the model's quality in it."""


def verified(settings: Settings, reference: str) -> dict[str, Any]:
    """Load a bundle as a scorer does, and report its signer.

    Args:
        settings: The store, and what is trusted.
        reference: NAME or NAME:VERSION.

    Raises:
        ModelError: It is refused.
        SettingsError: A trusted key cannot be read.
        UnavailableError: The store does not answer.
    """
    bundle = load_bundle(find(open_store(settings.models), reference), trust_of(settings.models))
    manifest = bundle.manifest
    return {
        "model": manifest.label,
        "store": bundle.folder.shown,
        "content_hash": manifest.content_hash,
        **_signed(bundle.seal.signer),
        "signature_required": bundle.trust.required,
    }


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Report every bundle in the store from its manifest and signature; its files are not read.

    A bundle that is refused is listed with the reason.

    Raises:
        ModelError: The store does not exist.
        SettingsError: A trusted key cannot be read.
        UnavailableError: The store does not answer.
    """
    store, trust = open_store(settings.models), trust_of(settings.models)
    return [_entry(store.folder(stored), trust, stored) for stored in store.bundles()]


def _entry(folder: Folder, trust: Trust, stored: Stored) -> dict[str, Any]:
    named = {"name": stored.name, "version": stored.version}
    try:
        seal = read_seal(folder, trust)
    except ModelError as error:
        return {**named, "refused": str(error)}
    manifest = seal.manifest
    training = manifest.training
    return {
        **named,
        "kind": manifest.kind,
        **_signed(seal.signer),
        "content_hash": manifest.content_hash,
        "trained_at": _moment(manifest),
        "trained_on": (
            None
            if training.train is None
            else f"{training.train.first_day}:{training.train.last_day}"
        ),
        "refused": None,
    }


def shown(settings: Settings, reference: str) -> dict[str, Any]:
    """Report a bundle's manifest and signer.

    Args:
        settings: The store, and what is trusted.
        reference: NAME or NAME:VERSION.

    Returns:
        ``store``, ``signature``, ``signed_by``, ``key_id``, ``feature_set``, as a trainer's grant
        names it, the complete ``manifest``, and, if the bundle has a reference of drift detection,
        ``drift_reference``: what it watches.

    Raises:
        ModelError: Its manifest, signature or reference is refused.
        SettingsError: A trusted key cannot be read.
        UnavailableError: The store does not answer.
    """
    folder = find(open_store(settings.models), reference)
    seal = read_seal(folder, trust_of(settings.models))
    watched = _watched(folder, seal)
    absent = {"onnx"} if seal.manifest.onnx is None else None
    return {
        "store": folder.shown,
        **_signed(seal.signer),
        "feature_set": seal.manifest.feature_set,
        **({} if watched is None else {"drift_reference": watched}),
        "manifest": seal.manifest.model_dump(mode="json", exclude=absent),
    }


def _watched(folder: Folder, seal: BundleContents) -> dict[str, Any] | None:
    """Return what the reference of drift detection watches; None if the bundle has none."""
    digest = seal.manifest.files.get(REFERENCE)
    if digest is None:
        return None
    data = folder.read(REFERENCE, BYTES_MOST, digest)
    refuse_other(REFERENCE, data, seal.manifest)
    reference = reference_of(data, seal.manifest)
    weeks = [each.season.weeks for each in reference.streams if each.season is not None]
    return {
        "digest": reference.digest,
        "fields": [each.field.name for each in reference.fields],
        "segments": len(reference.plan_segments) + 1,
        "streams": len(reference.streams),
        "pooled": sum(bool(each.pooled_from) for each in reference.streams),
        "weeks": int(max(weeks, default=0)),
        "window_ms": reference.window_ms,
        "eta": reference.eta,
    }


def compared(settings: Settings, old: str, new: str) -> dict[str, Any]:
    """Report the differences between two versions.

    Args:
        settings: The store, and what is trusted.
        old: NAME:VERSION.
        new: The other one.

    Returns:
        ``old`` and ``new``: the labels. ``same_decisions``: whether the content hashes are equal.
        ``features``: the names that were ``added``, ``removed`` and ``changed``, and whether they
        were ``reordered``. ``thresholds``, ``parameters``, ``metrics``, ``training``,
        ``libraries``, ``bundle`` and, if one of them is an ONNX model, ``onnx``: the differences as
        ``{key: [old, new]}``.

    Raises:
        ModelError: A manifest or signature is refused.
        SettingsError: A trusted key cannot be read.
        UnavailableError: The store does not answer.
    """
    first, second = (shown(settings, reference) for reference in (old, new))
    a, b = first["manifest"], second["manifest"]
    before = {feature["name"]: feature for feature in a["features"]}
    after = {feature["name"]: feature for feature in b["features"]}
    kept = [name for name in before if name in after]
    whole = ("name", "version", "kind", "engine", "on_model_error", "content_hash", "licence")
    return {
        "old": f"{a['name']}:{a['version']}",
        "new": f"{b['name']}:{b['version']}",
        "same_decisions": a["content_hash"] == b["content_hash"],
        "features": {
            "added": [name for name in after if name not in before],
            "removed": [name for name in before if name not in after],
            "changed": [name for name in kept if before[name] != after[name]],
            "reordered": kept != [name for name in after if name in before],
        },
        "thresholds": _differences(a["thresholds"], b["thresholds"]),
        "parameters": _differences(a["parameters"], b["parameters"]),
        "metrics": _differences(_flat(_metrics(a)), _flat(_metrics(b))),
        "training": _differences(_flat(_data(a)), _flat(_data(b))),
        "libraries": _differences(_libraries(a), _libraries(b)),
        "bundle": _differences(
            {key: a[key] for key in whole} | _signer_and_reference(first) | _lineage(a),
            {key: b[key] for key in whole} | _signer_and_reference(second) | _lineage(b),
        ),
        **({"onnx": _differences(_onnx(a), _onnx(b))} if "onnx" in a or "onnx" in b else {}),
    }


def _signer_and_reference(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the signer of :func:`shown`'s result, and the digest of its reference, if any."""
    watched = document.get("drift_reference")
    return {
        "signed_by": document["signed_by"],
        "drift_reference": None if watched is None else watched["digest"],
    }


def as_rows(document: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return :func:`shown`'s result as table rows: one for each value, feature and histogram."""
    manifest = dict(document["manifest"])
    features = {
        f"feature {number}": feature for number, feature in enumerate(manifest.pop("features"), 1)
    }
    reference = _told(manifest.pop("reference"))
    if "onnx" in manifest:
        manifest["onnx"] = _onnx(document["manifest"])
    lineage = _lineage(manifest)
    manifest.pop("lineage", None)
    about = {key: value for key, value in document.items() if key != "manifest"}
    values = _flat(about) | _flat(manifest) | lineage | features | reference
    return [(name, "-" if value is None else value) for name, value in values.items()]


def _told(reference: Mapping[str, Any] | None) -> dict[str, str]:
    """Return a line for each histogram of a manifest's reference statistics, by its name."""
    if reference is None:
        return {}
    parts = {**reference["features"], "score": reference["score"]}
    return {f"reference {name}": _bins(each) for name, each in parts.items()}


def _lineage(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the lineage of a manifest as one table, with a row for each data set.

    >>> _lineage({"lineage": {"run_id": "r7", "data_sets": [{"name": "march", "digest": "d4"}]}})
    {'lineage.run_id': 'r7', 'lineage.data_set 1': 'march d4'}
    """
    lineage = dict(manifest.get("lineage") or {})
    sets = lineage.pop("data_sets", ())
    rows = {f"lineage.{key}": value or None for key, value in lineage.items()}
    return rows | {
        f"lineage.data_set {number}": f"{each['name']} {each['digest']}".strip()
        for number, each in enumerate(sets, 1)
    }


def _bins(histogram: Mapping[str, Any]) -> str:
    """Return the shares of a histogram's bins with the edges between them.

    >>> _bins({"edges": [1.0, 2.5], "counts": [2, 1, 1], "missing": 3})
    '50% [1] 25% [2.5] 25%, 3 missing'
    """
    counts, edges = histogram["counts"], histogram["edges"]
    whole = sum(counts) or 1
    told = [f"{count / whole:.0%}" for count in counts]
    for place, edge in enumerate(edges):
        told[place] += f" [{edge:g}]"
    missing = histogram["missing"]
    return " ".join(told) + (f", {missing} missing" if missing else "")


def difference_rows(document: Mapping[str, Any]) -> list[list[Any]]:
    """Return the result of :func:`compared` as rows of a table: what, old, new."""
    features = document["features"]
    rows: list[list[Any]] = [
        *([f"feature {name}", "", "added"] for name in features["added"]),
        *([f"feature {name}", "removed", ""] for name in features["removed"]),
        *([f"feature {name}", "", "changed"] for name in features["changed"]),
    ]
    if features["reordered"]:
        rows.append(["order of features", "", "changed"])
    groups = ("thresholds", "parameters", "metrics", "training", "libraries", "bundle", "onnx")
    for group in groups:
        rows += (
            [f"{group} {key}", *("-" if value is None else value for value in pair)]
            for key, pair in document.get(group, {}).items()
        )
    return rows


def _metrics(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the measures of validation and test days, without periods and intervals."""
    return {
        period: {
            name: value
            for name, value in (manifest["training"][period] or {}).items()
            if name not in {"period", "intervals"}
        }
        for period in _JUDGED
    }


def _data(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the training data and parameters, with the periods in place of the measures."""
    training = manifest["training"]
    judged = {period: (training[period] or {}).get("period") for period in _JUDGED}
    return {**training, **judged}


def _libraries(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the libraries of a manifest of either format."""
    if manifest["origin"] is None:
        return dict(manifest["libraries"])
    return {manifest["origin"]["library"]: manifest["origin"]["version"]}


def _onnx(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return how an ONNX model is run, with the reference row by the features' names."""
    table = dict(manifest.get("onnx", {}))
    row = table.pop("reference", ())
    names = [feature["name"] for feature in manifest["features"]]
    return table | {f"reference {name}": x for name, x in zip(names, row, strict=bool(table))}


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one table, with keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return {key: [old, new]} of the differences; None where a key is missing."""
    keys = list(dict.fromkeys([*old, *new]))
    return {key: [old.get(key), new.get(key)] for key in keys if old.get(key) != new.get(key)}


def _moment(manifest: Manifest) -> str | None:
    """Return the time of the training in ISO 8601; None for bundles of earlier releases."""
    moment = manifest.training.trained_at
    return None if moment is None else moment.isoformat()


def _signed(signer: BundleSigner | None) -> dict[str, Any]:
    """Return a bundle's signer: a trusted name, an unknown key, or none."""
    if signer is None:
        return {"signature": "none", "signed_by": None, "key_id": None}
    state = "unknown key" if signer.name is None else "trusted"
    return {"signature": state, "signed_by": signer.name, "key_id": signer.key_id}
