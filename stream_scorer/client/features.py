"""The names of a decision's features: those of its model's manifest, or their positions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from stream_scorer import settings
from stream_scorer.errors import ModelError
from stream_scorer.models.bundles.trust import trust_of
from stream_scorer.models.bundles.verify_files import read_seal
from stream_scorer.models.stores.choose_version import find
from stream_scorer.models.stores.remote import open_store

PREFIX = "features."
"""Prefix of the name of a feature's Arrow column."""
_FLOAT_BYTES = 8
_VERSIONS_MOST = 1_000


class FeatureNames:
    """Names features, by model version.

    Args:
        models: The store; None: features are named by their positions.

    Raises:
        SettingsError: The store's URL or a trusted key cannot be used.
        UnavailableError: The store does not answer.
    """

    def __init__(self, models: settings.Models | None) -> None:
        self._store = None if models is None else open_store(models)
        self._trust = None if models is None else trust_of(models)
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, label: str, width: int) -> tuple[str, ...]:
        """Return the names of a version's features, in its order.

        Args:
            label: NAME:VERSION.
            width: Number of features that its decisions have.

        Raises:
            ModelError: The version is not in the store, is refused, or has another number of
                features.
            UnavailableError: The store does not answer.
        """
        if self._store is None or self._trust is None:
            return tuple(f"feature_{at}" for at in range(width))
        if label not in self._known:
            # Records of the topic may name any number of versions.
            if len(self._known) >= _VERSIONS_MOST:
                self._known.clear()
            manifest = read_seal(find(self._store, label), self._trust).manifest
            self._known[label] = tuple(str(spec["name"]) for spec in manifest.features)
        names = self._known[label]
        if len(names) != width:
            raise ModelError(
                f"model {label}: its manifest has {len(names)} features, a decision of it {width}",
                "name the store that the scorer loads from",
            )
        return names

    def columns(self, records: pa.RecordBatch) -> dict[str, pa.Array]:
        """Return n doubles by name, in the order of appearance; null where a row has none.

        Args:
            records: n decisions, with their columns ``model``, ``model_version``, ``features``.

        Raises:
            ModelError: As :meth:`of`.
            UnavailableError: As :meth:`of`.
        """
        count = len(records)
        found: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}
        for rows, names, values in self._parts(records):
            for at, name in enumerate(names):
                told, missing = found.setdefault(name, (np.zeros(count), np.ones(count, np.bool_)))
                told[rows] = values[:, at]
                missing[rows] = False
        return {name: pa.array(told, mask=missing) for name, (told, missing) in found.items()}

    def rows(self, records: pa.RecordBatch) -> Sequence[Mapping[str, float]]:
        """Return each row's features by name; raises as :meth:`of`."""
        found: list[Mapping[str, float]] = [{}] * len(records)
        for rows, names, values in self._parts(records):
            for row, mine in zip(rows.tolist(), values.tolist(), strict=True):
                found[row] = dict(zip(names, mine, strict=True))
        return found

    def _parts(
        self, records: pa.RecordBatch
    ) -> list[tuple[NDArray[np.int64], tuple[str, ...], NDArray[np.float64]]]:
        """Return rows, names and float64[k, m] of the decisions by version and width."""
        labels = pc.binary_join_element_wise(
            records.column("model"), records.column("model_version"), ":"
        ).dictionary_encode()
        code = np.asarray(labels.indices.to_numpy(zero_copy_only=False), np.int64)
        features = records.column("features")
        size = np.asarray(pc.binary_length(features).to_numpy(zero_copy_only=False), np.int64)
        found = []
        for version, bytes_each in np.unique(np.stack([code, size]), axis=1).T.tolist():
            label = labels.dictionary[version].as_py()
            if bytes_each % _FLOAT_BYTES:
                raise ModelError(
                    f"model {label}: a decision's features have {bytes_each} bytes, not a "
                    "multiple of 8",
                    "only scorers may write to the decisions topic",
                )
            rows = np.flatnonzero((code == version) & (size == bytes_each))
            width = bytes_each // _FLOAT_BYTES
            joined = b"".join(features.take(pa.array(rows)).to_pylist())
            values = np.frombuffer(joined, "<f8").reshape(len(rows), width)
            found.append((rows, self.of(label, width), values))
        return found


def store_settings(models: str | Path | settings.Models) -> settings.Models:
    """Return the settings of a store that is named by its folder or its URL."""
    if isinstance(models, settings.Models):
        return models
    if isinstance(models, str) and "://" in models:
        return settings.Models(url=models)
    return settings.Models(directory=Path(models))
