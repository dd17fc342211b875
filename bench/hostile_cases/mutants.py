"""Removes checks from a copy of the package, one at a time: the hostile cases must notice.

A check is an ``if`` that ends in ``raise`` or that gives a record its reason; it is removed by
making its condition false. Checks are drawn from the files that implement the doors. These refuse
no input, so they do not count as checks:

- ``raise error``: passes on what was found elsewhere;
- ``raise Paused(...)`` and ``raise OffsetsError(...)``: a dependency or offset is not available,
  whatever a client sends;
- what returns a constant outside of a kernel: a default, where a kernel returns a fault's code;
- the few of ``OTHERS``.
"""

import ast
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILES: Final[Mapping[str, str]] = {
    "registry/limits.py": "schema,mapped-labels",
    "registry/definition.py": "schema",
    "codec/reading/program_check.py": "schema",
    "codec/reading/written_columns.py": "schema",
    "codec/records/record.py": "rollout,activations,summaries,drift-events",
    "registry/lookup_budget.py": "lookup",
    "registry/http_registry.py": "lookup",
    "registry/unknown_ids.py": "lookup",
    "registry/answer_limits.py": "lookup",
    "registry/server.py": "registry",
    "registry/server_store.py": "registry",
    "codec/reading/decode_kernel.py": "schema,record",
    "core/rings/payload.py": "bucket",
    "core/kernels/dumping.py": "bucket",
    "state/checkpoints/ownership.py": "bucket,rejected,seal",
    "state/checkpoints/formats.py": "bucket",
    "state/checkpoints/rejected_segments.py": "rejected",
    "state/checkpoints/record_mac.py": "seal",
    "hardening/settings_check.py": "production",
    "state/checkpoints/restore_rules.py": "bucket,rejected",
    "models/importing/scikit_learn/unpack.py": "bundle",
    "models/importing/scikit_learn/arrays.py": "bundle",
    "models/predictors/linear.py": "bundle",
    "models/predictors/trees.py": "bundle",
    "kafka/loop/quarantine.py": "quarantine",
    "kafka/loop/source.py": "membership",
    "dead_letters/format.py": "terminal,replay",
    "kafka/reading/read_limit.py": "reads",
    "rollout/plan/fold_commands.py": "command",
    "rollout/plan/newer_versions.py": "command",
    "rollout/plan/control_record.py": "command",
    "core/events/plan.py": "plan",
    "observability/bounded_http.py": "probe",
    "observability/endpoint.py": "probe",
    "setting_files.py": "secret",
    "core/kernels/cache.py": "cache",
    "terminal_text.py": "terminal",
}
"""Files of the package, each with the doors whose cases run when one of its checks is removed."""

OTHERS: Final[Mapping[str, str]] = {
    "kafka/loop/source.py: isinstance(failure, KafkaException)":
        "names the broker's own error; without it the same error leaves under another name",
    "codec/reading/written_columns.py: not held":
        "holds our own compiler to its promise: no schema of a client gets so far",
    "models/importing/scikit_learn/unpack.py: member.compress_type not in _COMPRESSIONS":
        "came after the cases were recorded; unit tests have the case, and those of schema.py",
    "models/importing/scikit_learn/unpack.py: headers > _HEADERS_MOST":
        "as for the compression",
    "registry/answer_limits.py: left <= 0":
        "answers only in the microseconds between two reads: otherwise a read times out",
    "rollout/plan/fold_commands.py: command is None":
        "tells mypy what the fold promises: an accepted entry always has its command",
    "rollout/plan/fold_commands.py: not 1 <= sequence <= len(self.commands)":
        "no record names the number: it is the state's own, of a command that the fold accepted",
}  # fmt: skip
"""Single checks that are not drawn, by file and condition, with the reason of each."""

_WAITING: Final = frozenset({"Paused", "OffsetsError"})
_KERNELS: Final = frozenset({"kernel", "allocating", "numeric", "inlined"})


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        file: Below the package.
        line: Where it begins.
        begin: Where its condition begins in the text.
        end: Where it ends.
        text: The condition.
    """

    file: str
    line: int
    begin: int
    end: int
    text: str

    @property
    def name(self) -> str:
        """Its name in ``OTHERS``."""
        return f"{self.file}: {' '.join(self.text.split())}"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} if {' '.join(self.text.split())[:100]}"


def checks(package: Path, files: Sequence[str] = tuple(FILES)) -> list[Check]:
    """Return the checks of some files of a package that are there."""
    return [check for file in files if (package / file).exists() for check in _of(package, file)]


def _of(package: Path, file: str) -> Iterator[Check]:
    text = (package / file).read_text(encoding="utf-8")
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tree = ast.parse(text)
    compiled = set(_compiled(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and _refuses(node.body[-1], coded=node in compiled):
            test = node.test
            assert test.end_lineno is not None  # noqa: S101 parsed from text
            assert test.end_col_offset is not None  # noqa: S101 parsed from text
            begin = starts[test.lineno - 1] + test.col_offset
            end = starts[test.end_lineno - 1] + test.end_col_offset
            check = Check(file, node.lineno, begin, end, text[begin:end])
            if text.isascii() and check.name not in OTHERS:
                yield check


def _compiled(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that are in kernels."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = (each.id for each in node.decorator_list if isinstance(each, ast.Name))
            if not _KERNELS.isdisjoint(names):
                yield from ast.walk(node)


def _refuses(last: ast.stmt, *, coded: bool) -> bool:
    """Return whether a statement refuses input: by a new error, or a fault's code."""
    if isinstance(last, ast.Return):
        return coded and isinstance(last.value, ast.Name) and last.value.id.isupper()
    if isinstance(last, ast.Assign):
        target, value = last.targets[0], last.value
        named = isinstance(value, ast.Name) and value.id.isupper()
        return named and isinstance(target, ast.Name) and target.id == "failed"
    if not isinstance(last, ast.Raise):
        return False
    made = last.exc
    if isinstance(made, ast.Name):
        return False
    of = made.func if isinstance(made, ast.Call) else made
    return not (isinstance(of, ast.Name) and of.id in _WAITING)


def taken_out(check: Check, text: str) -> str:
    """Return a file's text without a check."""
    assert text[check.begin : check.end] == check.text  # noqa: S101 of the same file
    # As many lines as before, so that everything else keeps its place.
    return text[: check.begin] + "(False" + "\n" * check.text.count("\n") + ")" + text[check.end :]


def drawn(found: Sequence[Check], count: int, seed: int) -> list[Check]:
    """Return some checks by a seed."""
    return random.Random(seed).sample(list(found), min(count, len(found)))  # noqa: S311 a draw


def copied(root: Path, folder: Path) -> None:
    """Copy a checkout into a folder, without its tests and benches."""
    for name in ("stream_scorer", "schemas", "models", "compose"):
        shutil.copytree(root / name, folder / name)


def remove_each(
    chosen: Sequence[Check], package: Path, notice: Callable[[Check], str],
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Remove checks from a copy of the package, one at a time; return who noticed which removal.

    Args:
        chosen: The checks.
        package: The copy.
        notice: Runs cases while a check is missing; returns the first that notices it, or "".
        say: Called with a line for each.
    """
    by: dict[str, str] = {}
    for check in chosen:
        path = package / check.file
        before = path.stat()
        text = path.read_text(encoding="utf-8")
        path.write_text(taken_out(check, text), encoding="utf-8")
        by[str(check)] = notice(check)
        path.write_text(text, encoding="utf-8")
        # Then the file's compiled code is still valid.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        say(f"{check}: {by[str(check)] or 'NOT NOTICED'}")
    missed = [check for check, case in by.items() if not case]
    return {"taken_out": len(by), "noticed": len(by) - len(missed), "missed": missed, "by": by}


def mutate(
    root: Path, count: int, seed: int,
    run: Callable[..., Iterator[dict[str, Any]]], say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Remove checks from a copy of a checkout; return which removals were noticed.

    Args:
        root: Of the checkout.
        count: How many.
        seed: Draws them.
        run: Runs cases against a checkout; see ``hostile.run_cases``.
        say: Called with a line for each.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        copied(root, copy)
        package = copy / "stream_scorer"

        def notice(check: Check) -> str:
            tree = ast.parse((package / check.file).read_text(encoding="utf-8"))
            kept = ["--kernels-of", str(root)] * (not any(_compiled(tree)))
            return next(
                (
                    str(each["name"])
                    for each in list(run(copy, "--stop", "--doors", FILES[check.file], *kept))
                    if not each["expected"] and each["kind"] != "not there"
                ),
                "",
            )

        found = remove_each(drawn(checks(package), count, seed), package, notice, say)
    del found["by"]
    return found
