"""The suite's report: one record per kind and seed, and all of them as one object."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_PROOF = "proof.json"
_OTHER_FAULTS = ("unexpected", "disordered", "wrong", "unstable", "state", "answers")
_ANSWER_COUNTS = (
    "calls", "transactions", "repeats", "lost", "not_connected", "planted", "noticed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one kind of fault with one seed.

    Attributes:
        kind: Its name.
        family: The component that failed.
        seed: The seed.
        seconds: How long it took.
        fired: How often the fault was shown to have happened.
        proofs: By what.
        survived: Whether it happened, the scorers recovered, and the verdict is clean.
        error: The reason if not; else empty.
        resume_seconds: From the fault's end to the first commit of the slowest partition.
        verdict: The verifier's counts.
        alerts: The alert that is to report the kind, and those that fired; empty if they were not
            watched.
    """

    kind: str
    family: str
    seed: int
    seconds: float
    fired: int
    proofs: list[str]
    survived: bool
    error: str
    resume_seconds: float
    verdict: dict[str, Any] = field(default_factory=dict)
    alerts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.seed}-{self.kind}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof that the verifier can fail.

    Attributes:
        mutants_caught: Number of seeded faults of outputs that the verifier found.
        mutants: Number of seeded faults.
        rebirth_off_fails: Whether the held EndTxn fails with the rebirth rule switched off.
        told: What the verifier reported for each fault, in a few words.
    """

    mutants_caught: int
    mutants: int
    rebirth_off_fails: bool
    told: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the verifier found all that it had to find."""
        return self.mutants_caught == self.mutants and self.rebirth_off_fails

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PROOF).write_text(json.dumps(asdict(self), indent=1) + "\n")


def read_proof(folder: Path) -> Proof | None:
    """Return the proof that an earlier call wrote to a folder; None if there is none."""
    path = folder / _PROOF
    return Proof(**json.loads(path.read_text())) if path.exists() else None


def read_results(folder: Path) -> list[Result]:
    """Return the results that earlier calls wrote to a folder."""
    return [Result(**json.loads(path.read_text())) for path in sorted(folder.glob("*-*.json"))]


def table(results: Sequence[Result], tells: Mapping[str, str]) -> str:
    """Return the results as a Markdown table, one row per kind, for docs/RELIABILITY.md.

    Args:
        results: Results of one or more seeds.
        tells: What happens, by kind.
    """
    seeds = " and ".join(str(seed) for seed in sorted({result.seed for result in results}))
    lines = [
        f"| fault | what happens | shown by (count), seed 1 | slowest resume, seeds {seeds}, s |",
        "|---|---|---|---|",
    ]
    for name in dict.fromkeys(result.kind for result in results):
        runs = [result for result in results if result.kind == name]
        failed = ", ".join(str(run.seed) for run in runs if not run.survived)
        slowest = max(result.resume_seconds for result in runs)
        shown = "; ".join(runs[0].proofs)
        what = f"**FAILED with seed {failed}**: {tells[name]}" if failed else tells[name]
        lines.append(f"| `{name}` | {what} | {shown} | {slowest:.1f} |")
    return "\n".join(lines)


def _answers(asked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums of what clients asked the gateways for, and the longest resume."""
    statuses: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    for each in asked:
        statuses.update(each.get("statuses", {}))
        problems.update(each.get("problems", {}))
    counts = {name: sum(each.get(name, 0) for each in asked) for name in _ANSWER_COUNTS}
    longest = max((each.get("longest_resume_seconds", 0.0) for each in asked), default=0.0)
    return {
        **counts, "statuses": dict(statuses), "problems": dict(problems),
        "longest_resume_seconds": longest,
    }  # fmt: skip


def merged(results: Sequence[Result], proof: Proof | None) -> dict[str, Any]:
    """Return all results as one object.

    ``kinds``, ``fired`` and ``survived`` are numbers of kinds. A kind counts as fired or survived
    if that holds for every seed. The verdicts' counts are summed.
    """
    names = sorted({result.kind for result in results})
    runs = {name: [r for r in results if r.kind == name] for name in names}

    def total(count: str) -> int:
        return sum(result.verdict.get(count, 0) for result in results)

    return {
        "kinds": len(names),
        "seeds": sorted({result.seed for result in results}),
        "fired": sum(all(r.fired > 0 for r in runs[name]) for name in names),
        "survived": sum(all(r.survived for r in runs[name]) for name in names),
        "sent": total("sent"),
        "copies": total("copies"),
        "lost": total("lost"),
        "duplicates": total("duplicates"),
        "aborted_visible": total("aborted_visible"),
        "other_faults": sum(total(count) for count in _OTHER_FAULTS),
        "answers": _answers([result.verdict.get("asked") or {} for result in results]),
        "alerts": {f"{r.seed}-{r.kind}": r.alerts for r in results if r.alerts},
        "max_resume_seconds": round(max((r.resume_seconds for r in results), default=0.0), 1),
        "seconds": round(sum(result.seconds for result in results)),
        "failures": {f"{r.seed}-{r.kind}": r.error for r in results if not r.survived},
        "verifier_mutants_caught": proof.mutants_caught if proof else None,
        "verifier_mutants": proof.mutants if proof else None,
        "rebirth_off_fails": proof.rebirth_off_fails if proof else None,
    }
