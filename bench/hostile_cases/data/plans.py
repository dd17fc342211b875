"""Plans and commands of rollouts that an attacker may write to the control log."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.hostile_cases.case import Case, Place, cases, entry

_PLAN: Final = {
    "name": "try 0.2", "strategy": "canary", "salt": "salt",
    "versions": {"champion": "fraud:0.1.0", "canary": "fraud:0.2.0"},
    "ramp": [{"percent": 1}, {"percent": 100}],
}  # fmt: skip


def _read(module: str, name: str, given: Callable[[], Any], *others: Any) -> Callable[[Place], str]:
    """Call a reader of plans with what ``given`` makes, and with other arguments."""

    def run(_: Place) -> str:
        made = given()
        try:
            entry(module, name)(made, *others)
        except ValueError as error:
            return f"refused: {error}"
        return "accepted"

    return run


def _planned(change: Callable[[dict[str, Any]], object]) -> Callable[[Place], str]:
    """Read a rollout's plan after a change."""

    def changed() -> dict[str, Any]:
        plan: dict[str, Any] = json.loads(json.dumps(_PLAN))
        change(plan)
        return plan

    return _read("stream_scorer.rollout.plan.plan_file", "plan_of", changed)


def _toml(text: str) -> Callable[[Place], str]:
    """Read a rollout's plan file."""
    return _read("stream_scorer.rollout.plan.plan_file", "plan_table", lambda: text)


def _shared(text: str, *parts: Mapping[str, str]) -> Callable[[Place], str]:
    """Read a plan file of the core, and the files beside it."""
    return _read("stream_scorer.core.events.plan", "parse_plan", lambda: text, *parts)


def _nested(levels: int) -> dict[str, Any]:
    """Return tables inside each other."""
    table: dict[str, Any] = {}
    for _ in range(levels):
        table = {"a": table}
    return table


class _Log:
    """A control log with an operator's first plan.

    Args:
        required: Whether every command must be signed.
        last: The last number that the operator's key may have signed; 0 for no limit.
    """

    def __init__(self, *, required: bool = True, last: int = 0) -> None:
        self.control = entry("stream_scorer.rollout.plan.control_record")
        keys = entry("stream_scorer.security.keys")
        self.operator, self.stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        public = self.operator.public_key()
        trusted = {keys.key_id(public): keys.TrustedKey("ann", public)}
        retired = dict.fromkeys(trusted, last) if last else {}
        self.log = entry("stream_scorer.rollout.plan.fold_commands", "Log")(
            self.control.Authority(trusted, retired, required=required)
        )
        self.give(self.command("plan", _PLAN))

    def command(self, kind: str, body: dict[str, Any], key: Any = None) -> Any:
        commands = entry("stream_scorer.rollout.plan.command_kinds")
        read = entry("stream_scorer.rollout.plan.strict_parsing", "read")
        state = self.log.state
        # By its value: older trees have another name for the type.
        of = next(each for each in commands.BODIES if each == kind)
        return self.control.write(
            state.sequence + 1, state.head, of, read(commands.BODIES[of], body), 1_000,
            key or self.operator,
        )  # fmt: skip

    def give(self, command: Any) -> str:
        entry_ = self.log.take(len(self.log.entries), command)
        return f"refused: {entry_.refused}" if entry_.refused else "accepted"


def _given(make: Callable[[_Log], Any], **options: Any) -> Callable[[Place], str]:
    """Fold a hostile command; the operator's next one must still count."""

    def run(_: Place) -> str:
        log = _Log(**options)
        found = log.give(make(log))
        after = log.give(log.command("step", {"stage": 1}))
        return f"{found}; the operator's next: {after}"

    return run


def _many(change: Callable[[Any, int], Any]) -> Callable[[Place], str]:
    """Fold 200 hostile commands; the operator's next one must still count."""

    def run(_: Place) -> str:
        log = _Log()
        for number in range(200):
            found = log.give(change(log.command("step", {"stage": 1}), number))
        after = log.give(log.command("step", {"stage": 1}))
        return f"{found}; the operator's next: {after}"

    return run


def _body(text: str) -> Callable[[_Log], Any]:
    """Return a command of the operator whose body was put in afterwards, unsigned by it."""
    return lambda log: replace(log.command("step", {"stage": 1}), body=text)


def _signed(**changed: Any) -> Callable[[_Log], Any]:
    """Return a command with other fields, signed by an untrusted key."""

    def make(log: _Log) -> Any:
        made = replace(log.command("step", {"stage": 1}, log.stranger), **changed)
        return replace(made, signature=log.stranger.sign(made.statement))

    return make


def _operators(**changed: Any) -> Callable[[_Log], Any]:
    """Return a command with other fields, signed by the operator."""

    def make(log: _Log) -> Any:
        made = replace(log.command("step", {"stage": 1}), **changed)
        return replace(made, signature=log.operator.sign(made.statement))

    return make


def _controlled(key: Callable[[_Log], bytes]) -> Callable[[_Log], Any]:
    """Return an operator's plan that names a controller with a key."""
    return lambda log: log.command(
        "plan", {**_PLAN, "controller": {"key": b64encode(key(log)).decode()}}
    )


def _file(what: str, words: str, text: str) -> Case:
    """Return the case of a plan file that the core refuses."""
    return Case(f"plan: plan.toml with {what}", 4, "plan-file", _REFUSED, _shared(text),
                words=words)  # fmt: skip


_REFUSED: Final = "refused: "
_NOTHING: Final = "refused: .*; the operator's next: accepted"

_COMMANDS: Final = tuple(
    Case(f"command: {what}", 4, "commands", expected, run, words=words)
    for what, expected, words, run in (
        ("a body of 600 KB by an operator", _NOTHING, "its body has 6",
         _given(_operators(body=json.dumps({"a": "x" * 600_000}, separators=(",", ":"))))),
        ("a body that an operator wrote another way", _NOTHING, "not canonical JSON",
         _given(_operators(body='{"stage": 1, "format": 1}'))),
        ("a format of a newer version by an operator", "RolloutError: ",
         "format 99 was written by a newer version", _given(_operators(body='{"format":99}'))),
        ("number 9 by an operator", "RolloutError: ", "number 2 was expected, and 9 came",
         _given(_operators(sequence=9))),
        ("a command of another log", _NOTHING, "does not follow number 1 of this log",
         _given(_operators(previous=b"\1" * 32))),
        ("a controller without a key", _NOTHING, "controller.key: is empty",
         _given(_controlled(lambda _: b""))),
        ("a controller with an operator's key", _NOTHING, "is the key of the operator ann",
         _given(_controlled(lambda log: log.operator.public_key().public_bytes_raw()))),
        ("a signature that names no key", _NOTHING, "has a signature and names no key",
         _given(lambda log: replace(log.command("step", {"stage": 1}), key_id=""),
                required=False)),
        ("a key that was retired", _REFUSED, "retired after number 1",
         _given(_operators(), last=1)),
    )
)  # fmt: skip

_FILES: Final = (
    _file("sums of more than 64 bits", "a sum would overflow",
          f"ring_cap = {2**20}\namount_minor_max = {10**15}"),
    _file("a share of errors of 2", "must be between 0 and 1", "model_error_share = 2.0"),
    _file("a lateness of 31 days", "would keep every ring for ever",
          f"lateness_ms = {31 * 86_400_000}"),
    _file("a slack longer than the delay", "is more than terminal_delay_ms",
          f"terminal_slack_ms = {9 * 86_400_000}"),
    _file("no currency", "at least one must be listed", "[currencies]"),
    _file("two currencies", "more than one needs rates", "[currencies]\nEUR = 2\nUSD = 2"),
    _file("a currency that is none", "is not an ISO 4217 code", "[currencies]\neuro = 2"),
    _file("an exponent that is a text", "must be a table of ISO code = exponent",
          '[currencies]\nEUR = "2"'),
    _file("currencies that are a number", "must be a table of ISO code = exponent",
          "currencies = 5"),
    _file("an unknown key", "unknown key 'admin'", "admin = true"),
    _file("extra fields and no mapping", "extras: need events.toml", '[extras]\ndevice = "string"'),
    _file("a policy that is a number", "policy: must be a table, not 5", "policy = 5"),
    _file("a share that is a text", "model_error_share: must be a number",
          'model_error_share = "0.1"'),
    Case("plan: a policy in plan.toml and in policy.toml", 4, "plan-file", _REFUSED,
         _shared("[policy.default]\nreview = 0.1\nblock = 0.2\n",
                 {"policy.toml": "[default]\nreview = 0.5\nblock = 0.9\n"}),
         words="policy: is in the plan file and in policy.toml"),
    _file("half an event", "ring_cap: must be a whole number", "ring_cap = 1.5"),
)  # fmt: skip

CASES: Final = (
    *_COMMANDS,
    *_FILES,
    *cases(
        "plan", 4,
        ("a ramp of 10,000 stages", "plans", _REFUSED,
         _planned(lambda p: p.update(ramp=[{"percent": n / 100} for n in range(10_000)]))),
        ("a share of NaN", "plans", _REFUSED,
         _planned(lambda p: p.update(ramp=[{"percent": float("nan")}]))),
        ("a share of 10^400", "plans", _REFUSED,
         _planned(lambda p: p.update(ramp=[{"percent": 10**400}]))),
        ("a policy whose review is 10^400", "plans", _REFUSED, _planned(lambda p: p.update(
             shared={"policy": {"default": {"review": 10**400, "block": 1}}})), "0 < review"),
        ("a policy whose block is 10^400", "plans", _REFUSED, _planned(lambda p: p.update(
             shared={"policy": {"default": {"review": 0.1, "block": 10**400}}})), "0 < review"),
        ("plan.toml with a review of 10^400", "plans", _REFUSED,
         _shared("[policy.default]\nreview = 1" + "0" * 400 + "\nblock = 1"), "0 < review"),
        ("a salt of 10 MB", "plans", _REFUSED, _planned(lambda p: p.update(salt="s" * 10_000_000))),
        ("a version that climbs", "plans", _REFUSED,
         _planned(lambda p: p["versions"].update(canary="../../etc:0.0.1"))),
        ("an arm with an escape sequence", "plans", _REFUSED,
         _planned(lambda p: p["versions"].update({"\x1b]52": "fraud:0.1.0"}))),
        ("an unknown key", "plans", _REFUSED, _planned(lambda p: p.update(admin=True))),
        ("a lone surrogate in its name", "plans", _REFUSED,
         _planned(lambda p: p.update(name="a\ud800"))),
        ("TOML nested 100,000 deep", "plans", _REFUSED, _toml("a=" + "[" * 100_000)),
        ("plan.toml nested 100,000 deep", "plans", _REFUSED, _shared("a = " + "[" * 100_000)),
        *(
            (f"{file} with {what}", "nesting", _REFUSED, read(text), "deeper than 64 levels")
            for file, read in (("a rollout plan", _toml), ("plan.toml", _shared))
            for what, text in (
                ("a key of 3,000 parts", "a." * 3_000 + "b = 1"),
                ("a key of 500,000 parts", "a." * 500_000 + "b = 1"),
                ("a heading of 65 parts", f"['a'{'. a' * 64}]"),
                ("3,000 inline tables", "a = " + "{a = " * 3_000 + "1" + "}" * 3_000),
                ("400 lists", "a = " + "[" * 400 + "]" * 400),
            )
        ),
        ("a rollout of 3,000 tables in each other", "plans", _REFUSED,
         _planned(lambda p: p.update(shared=_nested(3_000))), "nested too deep"),
        ("a number of 100,000 digits", "plans", _REFUSED, _toml("a=" + "9" * 100_000)),
        ("a ring_cap of 2^62", "plans", _REFUSED, _shared(f"ring_cap = {2**62}"),
         "must be at most"),
        ("string_bytes_max of -1", "plans", _REFUSED, _shared("string_bytes_max = -1"),
         "must be at least"),
        ("a currency exponent of 10^6", "plans", _REFUSED, _shared("[currencies]\nEUR = 1000000")),
    ),
    *cases(
        "command", 4,
        ("signed by a stranger", "commands", _NOTHING,
         _given(lambda log: log.command("step", {"stage": 1}, log.stranger))),
        ("not signed", "commands", _NOTHING,
         _given(lambda log: replace(log.command("step", {"stage": 1}), key_id="", signature=b"")),
         "is not signed"),
        ("the operator's, with another body", "commands", _NOTHING,
         _given(_body('{"format":1,"reason":"","stage":0,"effective_at":null}'))),
        ("a body nested 100,000 deep", "commands", _NOTHING, _given(_body('{"a":' * 100_000))),
        ("a signature of 1 MB", "commands", _NOTHING,
         _given(lambda log: replace(log.command("step", {"stage": 1}), signature=b"x" * 2**20))),
        ("number 2^62 by a stranger", "commands", _NOTHING, _given(_signed(sequence=2**62))),
        ("a kind of a newer version by a stranger", "commands", _NOTHING,
         _given(_signed(kind="erase"))),
        ("a time of -2^63 by a stranger", "commands", _NOTHING, _given(_signed(at=-(2**63)))),
        ("a lone surrogate in its body", "commands", _NOTHING,
         _given(_body('{"format":1,"reason":"\ud800"}'))),
        ("200 unsigned ones of 1 MB", "own-memory", _NOTHING,
         _many(lambda made, n: replace(made, body=f"{n:1000000}", key_id="", signature=b"")),
         "is not signed"),
        ("200 with a key id of 1 MB", "own-memory", _NOTHING,
         _many(lambda made, n: replace(made, key_id=f"{n:1000000}")),
         "is signed by an unknown key"),
        ("200 of a kind of 1 MB, signed by nobody", "own-memory", _NOTHING,
         _many(lambda made, n: replace(made, kind=f"{n:1000000}", key_id="", signature=b"")),
         "is not signed"),
        ("the plan once more", "commands", _NOTHING, _given(lambda log: log.log.accepted(1)),
         "has number 1, and 2 is next: another command came first"),
    ),
)  # fmt: skip
