"""FastAPI with scikit-learn, as one would write it; runs with the peer's own Python.

``MODEL_FILE=FILE uvicorn fastapi_app:app``. It answers the same request as the other contenders.
It has no authentication. The model runs in the event loop: a thread costs more than one row.
"""

import os
from typing import Any

import joblib
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

REVIEW = float(os.environ["REVIEW_FROM"])
BLOCK = float(os.environ["BLOCK_FROM"])


class Tensor(BaseModel):
    """An input."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferenceRequest(BaseModel):
    """A request."""

    inputs: list[Tensor]


class InferenceAnswer(BaseModel):
    """An answer."""

    model_name: str
    outputs: list[dict[str, Any]]


app = FastAPI()
model = joblib.load(os.environ["MODEL_FILE"])


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/v2/models/fraud/infer")
async def infer(request: InferenceRequest) -> InferenceAnswer:
    tensor = request.inputs[0]
    rows = np.array(tensor.data, np.float64).reshape(tensor.shape)
    scores = model.predict_proba(rows)[:, 1]
    outcomes = np.where(scores >= BLOCK, "BLOCK", np.where(scores >= REVIEW, "REVIEW", "APPROVE"))
    return InferenceAnswer(
        model_name="fraud",
        outputs=[
            {"name": "score", "shape": [len(rows)], "datatype": "FP64", "data": scores.tolist()},
            {
                "name": "outcome",
                "shape": [len(rows)],
                "datatype": "BYTES",
                "data": outcomes.tolist(),
            },
        ],
    )
