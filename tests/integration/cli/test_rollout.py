"""The ``rollout`` commands against a real broker, signed as in production."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.codec.records.record import RecordCodec
from stream_scorer.errors import RolloutError, SettingsError, StreamScorerError
from stream_scorer.kafka.topics import client_options
from stream_scorer.registry.sources import reader_schema
from stream_scorer.rollout.log.control_log import ControlLog
from stream_scorer.rollout.plan.command_kinds import CommandKind, Propose, Step, VerdictGiven
from stream_scorer.security.keys import KeyPair, generate, read_private
from stream_scorer.settings import MODELS_DIRECTORY, Kafka, Rollout, Settings
from tests.support.faults.process import environment

pytestmark = pytest.mark.kafka
FRAUD = sorted(
    (path.name for path in (MODELS_DIRECTORY / "fraud").iterdir() if path.is_dir()),
    key=lambda version: [int(part) for part in version.split(".")],
)
BUNDLE = f"fraud:{FRAUD[-1]}"


class Shell:
    """Runs ``rollout`` commands as an operator."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.kafka, self.folder = kafka, folder
        self.ann, self.bot, self.eve = (self._key(folder / name) for name in ("ann", "bot", "eve"))
        self.rollout = Rollout(operator_keys={"ann": str(self.ann.public)}, require_signature=True)
        self._environment = {
            **environment(kafka),
            "STREAM_SCORER_ROLLOUT__OPERATOR_KEYS": json.dumps(self.rollout.operator_keys),
            "STREAM_SCORER_ROLLOUT__REQUIRE_SIGNATURE": "true",
            "STREAM_SCORER_AUDIT__PATH": str(folder / "audit.log"),
            "COLUMNS": "200",
        }

    @staticmethod
    def _key(path: Path) -> KeyPair:
        return generate(path)

    def private(self, pair: KeyPair) -> Ed25519PrivateKey:
        return read_private(pair.private)

    def run(self, *words: object) -> str:
        result = CliRunner().invoke(app, ["rollout", *map(str, words)], env=self._environment)
        if result.exception is not None:
            raise result.exception
        return result.stdout

    def told(self, *words: object) -> Any:
        out = self.run(*words, "--json")
        assert out.count("\n") == 1
        return json.loads(out)

    def signed(self, *words: object) -> Any:
        return self.told(*words, "--key", self.ann.private)

    def refusal(self, *words: object, kind: type[StreamScorerError] = RolloutError) -> str:
        with pytest.raises(kind) as refused:
            self.signed(*words)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    def audited(self) -> list[tuple[str, str, str]]:
        """Return action and actor, and the reason of the command or of its refusal."""
        lines = map(json.loads, (self.folder / "audit.log").read_text().splitlines())
        return [
            (line["action"], line["actor"], line["details"].get("what", line["details"].get("why")))
            for line in lines
        ]

    def controller(self) -> ControlLog:
        log = ControlLog(Settings(kafka=self.kafka, rollout=self.rollout))
        log.refresh()
        return log

    def activate(self, *records: dict[str, Any]) -> None:
        codec = RecordCodec(8, reader_schema("activation.v1"))
        producer = Producer(client_options.common(self.kafka))
        for record in records:
            made = {"status": "ACTIVE", "reason": "", "versions": {}, "instance": "0", **record}
            made["at"] = time.time_ns() // 1_000_000
            producer.produce(self.kafka.topics.activations, codec.encode(made))
        assert producer.flush(30) == 0


@pytest.fixture
def shell(
    kafka_settings: Callable[..., Kafka], kafka_topics: Callable[..., Kafka], tmp_path: Path
) -> Shell:
    return Shell(kafka_topics(kafka_settings(), 2), tmp_path)


def start(shell: Shell, text: str) -> list[object]:
    """Return the arguments that start a rollout by a plan file."""
    file = shell.folder / "plan.toml"
    file.write_text(text)
    return ["start", "--plan", file]


def canary(shell: Shell, controller: str = "") -> Any:
    ramp = "[{ percent = 5 }, { percent = 25 }, { percent = 100 }]"
    return shell.signed(*start(
        shell, f'name = "try"\nstrategy = "canary"\nramp = {ramp}\n'
        f'versions = {{ champion = "{BUNDLE}", canary = "{BUNDLE}" }}\n{controller}',
    ))  # fmt: skip


CHAMPION = f'name = "a"\nstrategy = "champion"\nversions.champion = "{BUNDLE}"\n'


def test_a_canary_from_the_first_stage_to_the_rollback(shell: Shell) -> None:
    assert shell.told("status")["phase"] == "empty"
    assert "There is no plan yet" in shell.run("status")
    assert shell.told("history") == []
    begun = canary(shell)
    assert (begun["sequence"], begun["signer"], begun["now"]["stage"]) == (1, "ann", 0)
    assert shell.signed("step")["now"]["stage"] == 1
    assert "a ramp only ascends" in shell.refusal("step", "--percent", "5")
    assert "no stage of 50 % — its stages are 5, 25, 100" in shell.refusal("step", "--percent", 50)
    assert "rollout 'try' is running" in shell.refusal(*start(shell, CHAMPION), "--unverified")
    assert shell.signed("pause", "--reason", "lunch")["now"]["paused"] is True
    assert "resume it first" in shell.refusal("promote")
    assert shell.signed("resume")["now"]["paused"] is False
    promoted = shell.signed("promote", "--effective-at", "2026-11-25T10:00:00Z")
    assert promoted["now"]["phase"] == "promoted"
    assert promoted["now"]["effective_at"] == "2026-11-25T10:00:00.000+00:00"
    back = shell.signed("rollback", "--reason", "too many alerts")
    assert back["now"]["phase"] == "rolled back"
    assert [a["arm"] for a in back["now"]["arms"]] == ["champion"]

    shell.activate(
        {"partition": 0, "offset": 100, "revision": 6},
        {"partition": 1, "offset": 50, "revision": 5},
        {"partition": 1, "offset": 70, "revision": 6, "status": "REFUSED", "reason": "warming"},
    )
    told = shell.told("status")
    assert [(p["partition"], p["revision"], p["current"]) for p in told["partitions"]] == [
        (0, 6, True), (1, 5, False),
    ]  # fmt: skip
    assert told["partitions"][1]["refused"][0]["reason"] == "warming"
    assert [p["not_loadable"] for p in told["partitions"]] == [{}, {}]
    drawn = shell.run("status")
    for words in (
        "rolled back",
        "revision 6",
        "● 5 % ── ● 25 % ── ○ 100 %",
        "champion",
        BUNDLE,
        "warming",
        "active",
    ):
        assert words in drawn
    shell.activate(
        {"partition": 1, "offset": 90, "revision": 6, "versions": {"champion": "fraud:9.9.9"}}
    )
    (gone,) = shell.told("status")["partitions"][1]["not_loadable"].items()
    assert gone[0] == "fraud:9.9.9"
    assert "not in" in gone[1]
    assert "a restart cannot load fraud:9.9.9" in " ".join(shell.run("status").split())
    # The commands were refused before they were written, so every record of the log is accepted.
    assert [(row["kind"], row["accepted"]) for row in shell.told("history")] == [
        ("plan", True), ("step", True), ("pause", True), ("resume", True), ("promote", True),
        ("rollback", True),
    ]  # fmt: skip
    assert "too many alerts" in shell.run("history")
    audited = shell.audited()
    assert [action for action, *_ in audited] == [
        "rollout.plan", "rollout.step", "rollout.step", "rollout.refused", "rollout.pause",
        "rollout.promote", "rollout.refused", "rollout.resume", "rollout.promote",
        "rollout.rollback",
    ]  # fmt: skip
    assert {actor for _, actor, _ in audited} == {f"key:{shell.ann.key_id}"}
    assert audited[1][2] == "stage 1"
    assert "a ramp only ascends" in audited[3][2]


def test_a_person_answers_what_the_controller_asks(shell: Shell) -> None:
    may = 'manual = ["step", "rollback", "promote"]'
    canary(shell, f'[controller]\nkey = "{shell.bot.public_base64}"\n{may}\n')
    log, key = shell.controller(), shell.private(shell.bot)
    with pytest.raises(RolloutError, match="has a person approve first: propose the step"):
        log.append(CommandKind.STEP, Step(stage=1), key)
    judged = {"guard": "fast", "verdict": "CONTINUE", "numbers": {"look": 4, "e_alerts": 0.5}}
    log.append(CommandKind.VERDICT, VerdictGiven.model_validate_json(json.dumps(judged)), key)
    log.append(
        CommandKind.PROPOSE, Propose(kind="step", body={"stage": 1}, reason="no harm seen"), key
    )
    log.close()
    drawn = shell.run("status")
    assert "◉ 5 % ── ○ 25 % ── ○ 100 %" in drawn
    for words in (
        "asks: step stage 1 (no harm seen)",
        "--proposal 3",
        "fast: CONTINUE",
        "e_alerts",
    ):
        assert words in drawn
    assert "proposal 2 does not wait for an answer: number 3 does" in shell.refusal(
        "approve", "--proposal", 2
    )
    assert shell.signed("approve")["now"]["stage"] == 1
    assert "nothing waits for an answer" in shell.refusal("reject")
    signers = [row["signer"] for row in shell.told("history")]
    assert signers == ["ann", "controller", "controller", "ann"]


def test_colours_switch_and_switch_back(shell: Shell) -> None:
    printed = shell.run("template", "blue-green")
    text = printed.replace("fraud:1.1.1", "fraud:9.9.9").replace("fraud:1.0.1", BUNDLE)
    shell.signed(*start(shell, text), "--unverified")
    assert shell.signed("switch")["now"]["colour"] == "green"
    assert shell.signed("switch")["now"]["colour"] == "blue"
    assert "blue decides already" in shell.refusal("switch", "--to", "blue")
    assert shell.signed("switch", "--to", "green")["now"]["arms"][0]["version"] == "fraud:9.9.9"
    assert shell.signed("promote")["now"]["phase"] == "promoted"
    again = shell.signed(*start(shell, 'name = "d"\nstrategy = "champion"\n'), "--unverified")
    assert (again["now"]["phase"], again["now"]["arms"][0]["version"]) == ("steady", "fraud:9.9.9")


def test_an_unauthorised_operator_is_refused_and_writes_nothing(shell: Shell) -> None:
    plan = start(shell, CHAMPION)
    with pytest.raises(RolloutError, match="plan is refused: is not signed — sign it: --key FILE"):
        shell.told(*plan)
    with pytest.raises(RolloutError, match="is signed by an unknown key"):
        shell.told(*plan, "--key", shell.eve.private)
    with pytest.raises(SettingsError, match="No such file"):
        shell.told(*plan, "--key", "nowhere")
    assert "is not a date and time" in shell.refusal(
        "promote", "--effective-at", "soon", kind=SettingsError
    )
    for words in (["--arm", "A B"], ["--reason", "x" * 2_001], ["--effective-at", 2**64]):
        assert shell.refusal("promote", "--arm", "canary", *words, kind=SettingsError)
    assert shell.told("history") == []


def test_a_missing_bundle_starts_no_rollout(shell: Shell) -> None:
    with pytest.raises(StreamScorerError, match=r"fraud:9\.9\.9"):
        shell.signed(*start(shell, CHAMPION.replace(BUNDLE, "fraud:9.9.9")))
    assert shell.told("history") == []


def test_before_a_plan_there_is_nothing_to_move(shell: Shell) -> None:
    for words in (["step"], ["promote"], ["rollback"], ["pause"], ["switch", "--to", "blue"]):
        assert "there is no plan yet" in shell.refusal(*words)


def test_options_that_moved_to_the_plan_file_work_with_a_warning(
    shell: Shell,
) -> None:
    begun = shell.signed(
        "start", "--name", "try", "--strategy", "canary", "--version", f"champion={BUNDLE}",
        "--version", f"canary={BUNDLE}", "--ramp", "5,100", "--stage-seconds", 60, "--manual",
        "--controller-key", shell.bot.public,
        "--unverified",
    )  # fmt: skip
    assert [(s["percent"], s["least_seconds"]) for s in begun["now"]["ramp"]] == [
        (5, 60),
        (100, 60),
    ]
    assert begun["now"]["controller"]["manual"] == ["step", "rollback", "promote"]
