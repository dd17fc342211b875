"""The picture of ``models thresholds``: the effects of thresholds, by the number of reviews."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

_DOTS_PER_INCH = 100


def picture_of(document: Mapping[str, Any], currency: str) -> bytes:
    """Return a PNG of cost, precision, recall and thresholds, by reviews per day.

    Args:
        document: The report, with its curve.
        currency: The unit of the costs.
    """
    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    curve = document["curve"]
    reviews = [point["reviews_per_day"] for point in curve]
    for place, title, names in (
        (axes[0, 0], f"Cost per day, {currency}", ("cost_per_day",)),
        (axes[0, 1], "Precision and recall", ("precision", "recall")),
        (axes[1, 0], "Thresholds", ("review", "block")),
        (axes[1, 1], "Blocks per day", ("blocks_per_day",)),
    ):
        for name in names:
            values = [float("nan") if p[name] is None else p[name] for p in curve]
            place.plot(reviews, values, marker=".", label=name.replace("_", " "))
        place.axvline(document["reviews_per_day"], color="black", linestyle="--", label="chosen")
        place.set_xscale("symlog")
        place.set(title=title, xlabel="reviews per day")
        place.legend()
    figure.suptitle(f"{document['model']} on {document['days']}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
