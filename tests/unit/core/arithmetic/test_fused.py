"""No compiled kernel has a fused multiply-add: each operation is rounded, as on every target."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

FUSED = re.compile(r"\b(vfn?m(add|sub)\w*|fn?m(add|sub)|fml[as])\b")
"""Instructions of x86-64 and of aarch64."""
FREE = re.compile(
    r"\bf(add|sub|mul|div)\s+(\w+ )*?(fast|contract|reassoc|arcp|afn)\b|llvm\.fma\.|llvm\.fmuladd"
)
"""Operations of LLVM that it may fuse, reorder or replace."""

KERNELS = """
import gc, importlib, pkgutil, re, sys
from numba.core import codegen
from numba.core.dispatcher import Dispatcher
import stream_scorer
from stream_scorer.scoring import compile_kernels
from tests.unit.core.arithmetic.test_fused import faults
compile_kernels.main()
from tests.unit.core.arithmetic.test_exponential import exp_all, made, samples
made(exp_all, samples(1_000))
mine = [
    each for each in gc.get_objects()
    if isinstance(each, Dispatcher) and each.py_func.__module__.startswith("stream_scorer.")
]
found = 0
for each in mine:
    for result in each.overloads.values():
        found += 1
        for fault in faults(result.library):
            print("fault", each.py_func.__module__, each.__name__, fault)
print("kernels", found)
print("modules", *sorted({each.py_func.__module__ for each in mine if each.overloads}))
"""


def texts(library: Any) -> tuple[str, str]:
    """Return the LLVM code of a compiled function, and the machine code that it becomes."""
    # What comes from the cache has its optimised code in another place.
    module = library._shared_module if library._disable_inspection else library._final_module
    return str(module), str(library._codegen._tm.emit_assembly(module))


def faults(library: Any) -> list[str]:
    """Return what may make a result depend on the processor."""
    code, machine = texts(library)
    return [*(each[0] for each in FREE.finditer(code)), *(m[0] for m in FUSED.finditer(machine))]


def test_no_kernel_of_the_scorer_has_a_fused_operation() -> None:
    done = subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-c", KERNELS], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[4], env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("fault")] == []
    (kernels,) = (int(line.split()[1]) for line in lines if line.startswith("kernels"))
    assert kernels > 60
    (modules,) = (line.split()[1:] for line in lines if line.startswith("modules"))
    package = "stream_scorer."
    assert {
        f"{package}core.arithmetic.exponential", f"{package}models.predictors.leaf_kernels",
        f"{package}models.predictors.linear", f"{package}core.kernels.observing",
    } <= set(modules)  # fmt: skip


@pytest.mark.parametrize("option", [True, {"contract"}, {"reassoc"}])
def test_what_may_be_fused_is_found(option: Any) -> None:
    @numba.njit(fastmath=option)
    def fused(x: float, y: float, z: float) -> float:
        return x * y + z

    fused(np.float64(2), np.float64(3), np.float64(4))
    (result,) = fused.overloads.values()
    assert faults(result.library)
