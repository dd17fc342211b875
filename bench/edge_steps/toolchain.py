"""Is an exported folder small, compiled quickly, and clean?

- Time: `export` of a bundle of 1,000 trees, and `make` in the folder. The whole command, which also
  starts Python and loads kernels, is in the report without a gate.
- Size: code and data of the compiled kernel, without the model; the module of WebAssembly; tables.
- Clean: golden rows under valgrind, and under the sanitizers for addresses and undefined behaviour;
  mutated images under the sanitizers; no fused operation in the machine code.
- Browser: the page scores 1,000 golden rows in Chromium without a network.
"""

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier

from bench.edge_steps.models import training
from bench.harness.script import missed
from stream_scorer.edge.export.order import ExportOrder
from stream_scorer.edge.export.run import export
from stream_scorer.models.bundles.writer import write_bundle
from stream_scorer.settings import Models, Settings
from tests.support.edge.browser import self_test
from tests.support.edge.checked_programs import (
    PLAIN,
    SANITIZED,
    VALGRIND,
    checker,
    mutated,
    mutating,
    run,
)
from tests.support.models.bundle_cases import candidate

TREES, SECONDS_MOST, CODE_BYTES_MOST = 1_000, 2.0, 32 * 1024
PAGE_ROWS = 1_000
MUTATIONS, MUTATIONS_QUICK = 20_000, 2_000
FUSED = re.compile(r"\b(vfn?m(add|sub)|fn?m(add|sub)|fml[as])", re.IGNORECASE)
_COMMAND = (
    str(Path(sys.executable).with_name("stream-scorer")), "export", "fraud:1.0.0",
    "--store", "store", "--target", "c", "--out", "command",
)  # fmt: skip
_PLAN = "revision = 0\n[currencies]\nEUR = 2\n"


def bundle(store: Path, trees: int) -> None:
    """Write a bundle ``fraud:1.0.0`` of boosted trees on 21 features for engine 3."""
    rows, fraud = training()
    fitted = HistGradientBoostingClassifier(
        max_iter=trees, max_leaf_nodes=31, min_samples_leaf=5, learning_rate=0.02,
        early_stopping=False, random_state=0,
    ).fit(rows, fraud)  # fmt: skip
    features: Any = tuple(
        {"name": f"COUNT_{day}", "kind": "count", "window": f"{day + 1}d"}
        for day in range(rows.shape[1])
    )
    write_bundle(store, replace(candidate(fitted), features=features, engine=3), rows[:5_000])
    (store / "fraud" / "plan.toml").write_text(_PLAN)


def measure_toolchain(*, quick: bool) -> dict[str, Any]:
    """Return times, sizes and what the checks found.

    Args:
        quick: A smaller bundle and fewer mutations.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees = 100 if quick else TREES
        bundle(folder / "store", trees)
        settings = Settings(models=Models(directory=folder / "store"))
        # The first export of a process compiles and loads kernels.
        export(settings, ExportOrder("fraud:1.0.0", "python", folder / "first"))
        order = ExportOrder("fraud:1.0.0", "c", folder / "c")
        made, *exported = _timed(lambda: export(settings, order))
        (code, _, err), *compiled = _timed(
            lambda: run(folder / "c", "make", "libstream_scorer_edge.a")
        )
        if code:
            raise SystemExit(f"make: {err}")
        (code, _, err), *command = _timed(lambda: run(folder, *_COMMAND))
        if code:
            raise SystemExit(f"export: {err}")
        sizes = run(folder / "c", "size", "stream_scorer_edge.o")[1].splitlines()[1].split()
        machine = run(folder / "c", "objdump", "-d", "stream_scorer_edge.o")[1]
        module = export(settings, ExportOrder("fraud:1.0.0", "wasm", folder / "wasm"))
        shown, different, _ = self_test(folder / "wasm" / "page.html", folder / "profile")
        small = folder / "small"
        store = folder / "small-store"
        bundle(store, 10)
        export(Settings(models=Models(directory=store)), ExportOrder("fraud:1.0.0", "c", small))
        found = {
            "valgrind": _clean(checker(small, folder / "valgrind", PLAIN), *VALGRIND),
            "sanitizers": _clean(checker(small, folder / "sanitized", SANITIZED)),
        }
        opened, refused = mutated(
            mutating(folder), (small / "tables.bin").read_bytes(),
            MUTATIONS_QUICK if quick else MUTATIONS, 7,
        )  # fmt: skip
    return {
        "trees": trees,
        "seconds": {"export": exported[0], "compile": compiled[0]},
        "processor_seconds": {"export": exported[1], "compile": compiled[1]},
        "command_seconds": command[0],
        "code_bytes": int(sizes[3]),
        "module_bytes": module.code_bytes,
        "table_bytes": made.table_bytes,
        "clean": found,
        "fused": len(FUSED.findall(machine)),
        "mutated_images": {"accepted": opened, "refused": refused},
        "page": {"rows": shown, "equal": shown - different},
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return a result, the seconds that it took, and those of the processor, children included."""
    started, used = time.perf_counter(), sum(os.times()[:4])
    found = work()
    seconds, processor = time.perf_counter() - started, sum(os.times()[:4]) - used
    return found, round(seconds, 2), round(processor, 2)


def _clean(program: Path, *before: str) -> bool:
    """Return whether a program ends well, with equal golden rows and without a message."""
    code, out, err = run(program.parent, *before, str(program))
    return (code, err) == (0, "") and out.endswith(" golden rows, 0 differ\n")


def failures(document: dict[str, Any]) -> list[str]:
    """Return one line for each missed gate."""
    seconds = document["seconds"]
    return missed(
        ("export and compile take {} s", round(sum(seconds.values()), 2), "<=", SECONDS_MOST),
        ("the kernel has {} bytes", document["code_bytes"], "<=", CODE_BYTES_MOST),
        ("fused operations: {}", document["fused"], "==", 0),
        *((f"clean under {name}: {{}}", clean, "==", True)
          for name, clean in document["clean"].items()),
        ("the page scores {} rows", document["page"]["rows"], "==", PAGE_ROWS),
        ("{} rows of the page are equal", document["page"]["equal"], "==", PAGE_ROWS),
    )  # fmt: skip
