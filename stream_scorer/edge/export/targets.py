"""The folders of the targets: which files each one has."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Final

from stream_scorer.edge import native
from stream_scorer.edge.export.documents import features_json, policy_json, readme
from stream_scorer.edge.export.golden_rows import ExpectedRows
from stream_scorer.edge.export.onnx_file import differences, onnx_file
from stream_scorer.edge.export.order import GOLDEN, TABLES, ExportParts
from stream_scorer.errors import SettingsError

NATIVE: Final = Path(native.__file__).parent
"""The folder of the sources."""
MODULE: Final = "stream_scorer_edge.wasm"
DIFFERENCES: Final = "differences.json"
"""The file of a target whose bits differ, with the largest differences."""
CLANG: Final = "clang"
CLANG_ARGUMENTS: Final = (
    "--target=wasm32-wasi", "-std=c99", "-O3", "-msimd128", "-ffp-contract=off", "-fno-fast-math",
    "-Wall", "-Wextra", "-Werror", "-nostdlib", "-Wl,--no-entry,--strip-all",
)  # fmt: skip
_EXPORTED: Final = (
    "ss_abi", "ss_model_size", "ss_open", "ss_scratch_size", "ss_feature_count", "ss_field_count",
    "ss_segment_count", "ss_value", "ss_decide", "ss_decide_rows", "ss_reserve",
)  # fmt: skip
_DEBIAN: Final = "install clang, lld and wasi-libc; on Debian: apt-get install clang lld wasi-libc"
_PAGE_ROWS: Final = 1_000

_C_USE: Final = """\
`make` compiles the kernel and the model into `libstream_scorer_edge.a`, and the example; `make
check` scores the golden rows and compares every bit. `make CC=clang` works, too. Without
`-ffp-contract=off` the last bits of some scores differ. `stream_scorer_edge.h` explains the
interface: C99, no allocation, no library but `memcpy`, and each row takes the same steps.
`example.c` is a program around it: it opens the linked model, `ss_tables`, and decides lines of
text. The model can also be read from `tables.bin` at run time: put it at a multiple of 64 bytes."""
_WASM_USE: Final = """\
`node check.mjs` scores the golden rows and compares every bit. `scorer.mjs` scores in Node and in a
browser. `page.html` is one file that scores the rows of a text file without a network."""
_PYTHON_USE: Final = """\
`python -m stream_scorer_edge.check .` scores the golden rows and compares every bit.
`stream_scorer_edge.ImageScorer` scores rows. It needs Python 3.11 and numpy, and nothing else."""

_ONNX_USE: Final = """\
`model.onnx` takes `features` (float64[n, m]) and gives `margin` and `score` (float64[n, 1]). It is
for other programs that read ONNX: a runtime adds in another order and rounds to float32, so bits
and, near a threshold, outcomes differ from the stream's. Measured with ONNX Runtime on {rows}
golden rows: margins differ by at most {margin:.3g} of the largest one, scores by at most
{score:.3g}. The file has no policy."""


def _sources(*names: str) -> dict[str, bytes]:
    return {name: (NATIVE / name).read_bytes() for name in names}


def _common(parts: ExportParts) -> dict[str, bytes]:
    return {
        TABLES: parts.tables,
        GOLDEN: parts.golden.as_bytes(),
        "features.json": features_json(parts),
        "policy.json": policy_json(parts),
        **_sources("LICENSE"),
    }


def _with_readme(
    parts: ExportParts, files: dict[str, bytes], title: str, use: str, *, equal: bool = True
) -> dict[str, bytes]:
    return {**files, "README.md": readme(parts, title, use, sorted(files), equal=equal)}


def c_folder(parts: ExportParts) -> dict[str, bytes]:
    """Return the files of the target ``c``, by name."""
    files = _common(parts) | _sources(
        "stream_scorer_edge.c", "stream_scorer_edge.h", "arithmetic.h", "image.h", "tables.S",
        "example.c", "check_golden.c", "Makefile",
    )  # fmt: skip
    return _with_readme(parts, files, "a model in C", _C_USE)


def python_folder(parts: ExportParts) -> dict[str, bytes]:
    """Return the files of the target ``python``, by name."""
    package = "stream_scorer_edge"
    files = _common(parts)
    for name, data in _sources("image.py", "portable.py", "arithmetic.py", "check.py").items():
        files[f"{package}/{name}"] = data
    files[f"{package}/__init__.py"] = (
        b'"""Scores rows of features with numpy alone."""\n\n'
        b"from .portable import ImageScorer, ScoredRows\n\n"
        b'__all__ = ["ImageScorer", "ScoredRows"]\n'
    )
    return _with_readme(parts, files, "a model for numpy", _PYTHON_USE)


def wasm_folder(parts: ExportParts) -> dict[str, bytes]:
    """Return the files of the target ``wasm``, by name.

    Raises:
        SettingsError: There is no compiler for WebAssembly.
    """
    module = compiled_module()
    files = _common(parts) | _sources("scorer.mjs", "check.mjs")
    files[MODULE] = module
    files["page.html"] = page(parts, module)
    return _with_readme(parts, files, "a model in WebAssembly", _WASM_USE)


def compiled_module(clang: str = CLANG) -> bytes:
    """Return the kernel as a WebAssembly module, which has no model.

    Args:
        clang: The compiler.

    Raises:
        SettingsError: There is no such compiler, or it cannot make WebAssembly.
    """
    program = shutil.which(clang)
    if program is None:
        raise SettingsError(f"target wasm: {clang} is not installed", _DEBIAN)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / MODULE
        sources = [str(NATIVE / name) for name in ("stream_scorer_edge.c", "wasm.c")]
        exports = [f"-Wl,--export={name}" for name in _EXPORTED]
        done = subprocess.run(  # noqa: S603 a compiler that the user installed, on our sources
            [program, *CLANG_ARGUMENTS, *exports, *sources, "-lc", "-o", str(out)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise SettingsError(f"target wasm: {clang} failed: {last}", _DEBIAN)
        return out.read_bytes()


def page(parts: ExportParts, module: bytes) -> bytes:
    """Return the page: one HTML file with module, tables and some golden rows."""
    golden = _first(parts.golden, _PAGE_ROWS)
    filled = {
        "LABEL": escape(parts.manifest.label),
        "FEATURES": escape(", ".join(parts.features.names)),
        "FIELDS": escape(", ".join(field.name for field in parts.policy.fields) or "none"),
        "SCORER": (NATIVE / "scorer.mjs").read_text(),
        "WASM": _base64(module),
        "TABLES": _base64(parts.tables),
        "ROWS": _base64(golden.rows.tobytes()),
        "AMOUNTS": _base64(golden.amounts.tobytes()),
        "VALUES": _base64(golden.values.tobytes()),
        "RESULTS": _base64(golden.results.tobytes()),
    }
    text = (NATIVE / "page.html").read_text()
    return re.sub(r"@([A-Z]+)@", lambda found: filled[found[1]], text).encode()


def _first(golden: ExpectedRows, most: int) -> ExpectedRows:
    """Return up to ``most`` of the golden rows, evenly spread."""
    count = len(golden.rows)
    chosen = [number * count // most for number in range(most)] if count > most else slice(None)
    return ExpectedRows(
        golden.rows[chosen], golden.amounts[chosen], golden.values[chosen], golden.results[chosen]
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def onnx_folder(parts: ExportParts) -> dict[str, bytes]:
    """Return the files of the target ``onnx``, by name.

    Raises:
        EdgeError: The model cannot be expressed.
        SettingsError: ONNX Runtime is not installed.
    """
    data, golden = onnx_file(parts.predictor.model), parts.golden
    margin, score = differences(
        data, golden.rows, golden.results["margin"], golden.results["score"]
    )
    files = _common(parts)
    del files[TABLES]
    files["model.onnx"] = data
    measured = {"rows": len(golden.rows), "margin": margin, "score": score}
    files[DIFFERENCES] = (json.dumps(measured, indent=2) + "\n").encode()
    use = _ONNX_USE.format(**measured)
    return _with_readme(parts, files, "a model in ONNX", use, equal=False)


TARGETS: Final[Mapping[str, Callable[[ExportParts], dict[str, bytes]]]] = {
    "c": c_folder, "wasm": wasm_folder, "python": python_folder, "onnx": onnx_folder,
}  # fmt: skip
"""The files of each target, by name."""
