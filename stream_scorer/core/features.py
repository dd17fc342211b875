"""Declared features: what a manifest may list, and how the listed ones are computed.

A manifest lists features in order, each a table with a unique ``name`` and a ``kind``; each kind
is one function below and one line of registration. All features see the current event and what
the customer's ring holds at or before it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_scorer.core.plan import Plan
from stream_scorer.core.windows import Retention

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

ENGINE = 1
"""Version of the meaning of features; it changes when a kind computes something else."""

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_WINDOW_MS = 400 * 86_400_000
_SATURDAY = 5
_LAST_NIGHT_HOUR = 6


@dataclass(frozen=True, slots=True)
class Observations:
    """What feature functions read, for n rows.

    Attributes:
        event_time: int64[n], ms since the epoch, UTC.
        amount: float64[n], in units of the currency.
        counts: int64[n, w], events per window.
        sums: int64[n, w], minor units per window.
        scale: Minor units per unit of the currency.
    """

    event_time: Int64
    amount: Float64
    counts: Int64
    sums: Int64
    scale: float


@dataclass(frozen=True, slots=True)
class Feature:
    """One compiled feature.

    Attributes:
        name: Its name in the manifest.
        window_ms: Its window's length, or 0 for none.
        compute: Takes the observations and the window's column; gives float64[n].
    """

    name: str
    window_ms: int
    compute: Callable[[Observations, int], Float64]


Kind = Callable[[Mapping[str, object]], Feature]
_KINDS: dict[str, Kind] = {}


def _kind(name: str, keys: tuple[str, ...]) -> Callable[[Kind], Kind]:
    """Register a kind under its name, with the keys that its table must have."""

    def register(build: Kind) -> Kind:
        def checked(spec: Mapping[str, object]) -> Feature:
            expected = {"name", "kind", *keys}
            optional = {"key"} if "window" in keys else set()
            for key in spec:
                if key not in expected | optional:
                    raise ValueError(
                        f"feature {spec['name']}: kind {name} has no key {key!r}; "
                        f"its keys are {', '.join(sorted(expected | optional))}"
                    )
            for key in expected:
                if key not in spec:
                    raise ValueError(f"feature {spec['name']}: kind {name} needs the key {key!r}")
            if spec.get("key", "customer_id") != "customer_id":
                raise ValueError(
                    f"feature {spec['name']}: key {spec['key']!r} is not known here; "
                    "the input is partitioned by customer, so the key must be 'customer_id'"
                )
            if spec.get("field", "amount") != "amount":
                raise ValueError(
                    f"feature {spec['name']}: field {spec['field']!r} is not known; known: 'amount'"
                )
            return build(spec)

        _KINDS[name] = checked
        return build

    return register


def _window(spec: Mapping[str, object]) -> int:
    text = str(spec["window"])
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if match is None:
        raise ValueError(
            f"feature {spec['name']}: window {text!r} is no bounded length; write 30m, 24h or 7d"
        )
    length = int(match[1]) * _UNITS_MS[match[2]]
    if length > _LONGEST_WINDOW_MS:
        raise ValueError(f"feature {spec['name']}: window {text} is longer than 400d")
    return length


@_kind("passthrough", ("field",))
def _passthrough(spec: Mapping[str, object]) -> Feature:
    return Feature(str(spec["name"]), 0, lambda seen, _: seen.amount)


@_kind("weekend", ())
def _weekend(spec: Mapping[str, object]) -> Feature:
    def compute(seen: Observations, _: int) -> Float64:
        # 1970-01-01 was a Thursday: day 0 is weekday 3 when Monday is 0.
        return ((seen.event_time // _UNITS_MS["d"] + 3) % 7 >= _SATURDAY).astype(np.float64)

    return Feature(str(spec["name"]), 0, compute)


@_kind("night", ())
def _night(spec: Mapping[str, object]) -> Feature:
    def compute(seen: Observations, _: int) -> Float64:
        hour = seen.event_time // _UNITS_MS["h"] % 24
        return (hour <= _LAST_NIGHT_HOUR).astype(np.float64)

    return Feature(str(spec["name"]), 0, compute)


@_kind("count", ("window",))
def _count(spec: Mapping[str, object]) -> Feature:
    return Feature(
        str(spec["name"]), _window(spec), lambda seen, w: seen.counts[:, w].astype(np.float64)
    )


@_kind("sum", ("field", "window"))
def _sum(spec: Mapping[str, object]) -> Feature:
    return Feature(str(spec["name"]), _window(spec), lambda seen, w: seen.sums[:, w] / seen.scale)


@_kind("mean", ("field", "window"))
def _mean(spec: Mapping[str, object]) -> Feature:
    return Feature(
        str(spec["name"]),
        _window(spec),
        lambda seen, w: seen.sums[:, w] / seen.counts[:, w] / seen.scale,
    )


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The features of one manifest, ready to compute.

    Attributes:
        names: m names in manifest order.
        windows: int64[w], the distinct window lengths in ms, ascending.
        retention: What rings must remember for these features.
    """

    names: tuple[str, ...]
    windows: Int64
    retention: Retention
    _features: tuple[Feature, ...]
    _columns: tuple[int, ...]
    _scale: float

    def compute(
        self, event_time: Int64, amount_minor: Int64, counts: Int64, sums: Int64
    ) -> Float64:
        """Return float64[n, m], C-contiguous, columns in manifest order.

        Args:
            event_time: int64[n], ms.
            amount_minor: int64[n].
            counts: int64[n, w], per window of ``windows``.
            sums: int64[n, w], minor units.
        """
        seen = Observations(event_time, amount_minor / self._scale, counts, sums, self._scale)
        out = np.empty((len(event_time), len(self._features)), np.float64)
        for j, (feature, column) in enumerate(zip(self._features, self._columns, strict=True)):
            out[:, j] = feature.compute(seen, column)
        return out


def compile_features(specs: Sequence[Mapping[str, object]], plan: Plan) -> FeatureSet:
    """Compile a manifest's feature list.

    Args:
        specs: Tables with ``name``, ``kind`` and the kind's own keys, in model order.
        plan: Gives lateness, ring cap and currency.

    Raises:
        ValueError: Empty list, unknown kind or key, double name, window without bound; the
            message names the feature and what is known.
    """
    if not specs:
        raise ValueError("the manifest lists no features")
    features: list[Feature] = []
    names: set[str] = set()
    for spec in specs:
        name = spec.get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"a feature has no name: {dict(spec)}")
        if name in names:
            raise ValueError(f"feature {name}: listed twice")
        names.add(name)
        kind = spec.get("kind")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise ValueError(
                f"feature {name}: kind {kind!r} is not known; known: {', '.join(sorted(_KINDS))}"
            )
        features.append(_KINDS[kind](spec))
    lengths = sorted({feature.window_ms for feature in features if feature.window_ms})
    return FeatureSet(
        names=tuple(feature.name for feature in features),
        windows=np.array(lengths, np.int64),
        retention=Retention(
            lateness_ms=plan.lateness_ms,
            horizon_ms=(lengths[-1] if lengths else 0) + plan.lateness_ms,
            cap=plan.ring_cap,
        ),
        _features=tuple(features),
        _columns=tuple(
            lengths.index(feature.window_ms) if feature.window_ms else -1 for feature in features
        ),
        _scale=float(10**plan.exponent),
    )
