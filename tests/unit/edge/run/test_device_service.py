"""The device's answers by HTTP and at a pipe, and what it refuses."""

import asyncio
import base64
import io
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from stream_scorer.cli.main import main
from stream_scorer.edge.claims.contract import EdgeProgress
from stream_scorer.edge.claims.device_request import DeviceRequest
from stream_scorer.edge.device.state import LOG
from stream_scorer.edge.files.export_folder import STATE
from stream_scorer.edge.registry.contract import DeviceRegistration, RegisteredKey
from stream_scorer.edge.registry.registration import registered
from stream_scorer.edge.run import open_device
from stream_scorer.edge.run.keys import KeyFiles, init_device
from stream_scorer.edge.run.lines import LINE_BYTES_MOST, answer_lines
from stream_scorer.edge.run.open_device import DeviceOptions, opened_device
from stream_scorer.edge.run.revocation import obey
from stream_scorer.edge.run.service import DeviceService
from stream_scorer.errors import EdgeError, EdgeRevokedError, SettingsError
from stream_scorer.serving.web.problems import Problem
from tests.support.device.device_process import body, cold, device_settings, posted
from tests.support.device.device_world import DEVICE


def served(
    folder: Path, release: Path | DeviceOptions,
    use: Callable[[DeviceService], Coroutine[Any, Any, None]],
) -> None:  # fmt: skip
    async def run() -> None:
        options = release if isinstance(release, DeviceOptions) else cold(release)
        service = DeviceService(device_settings(folder), options, lambda _: None)
        async with service:
            await use(service)

    asyncio.run(run())


def test_a_transaction_is_decided_by_http(tmp_path: Path, release_folder: Path) -> None:
    async def use(service: DeviceService) -> None:
        answer = await service.decide(posted(body(1)))
        document = json.loads(answer.body)
        assert answer.status == 200
        assert document["sequence"] == 1
        assert document["decision"] in {"APPROVE", "REVIEW", "BLOCK"}
        assert document["flags"] == ["degraded"]
        assert (document["model"], document["model_version"]) == ("fraud", "1.0.1")
        again = await service.decide(posted(json.dumps(body(1), indent=4).encode()))
        assert again.body == answer.body
        status = json.loads((await service.status(posted(b""))).body)
        assert (status["device"], status["sequence"], status["outbox"]) == (DEVICE, 1, 1)
        assert status["customers"] == 1

    served(tmp_path / "device", release_folder, use)


@pytest.mark.parametrize(
    ("document", "status", "kind"),
    [
        (b"{", 400, "invalid-json"),
        (b"[]", 400, "invalid-json"),
        ({"transaction_id": 7}, 422, "rejected"),
        (body(2, currency="XXX"), 422, "rejected"),
        (body(2, event_time=4_102_444_800_000), 422, "rejected"),
        (body(1, amount_minor=5), 409, "another-body"),
    ],
)
def test_each_refusal_has_its_problem(
    tmp_path: Path, release_folder: Path, document: object, status: int, kind: str
) -> None:
    async def use(service: DeviceService) -> None:
        await service.decide(posted(body(1)))
        with pytest.raises(Problem) as refused:
            await service.decide(posted(document))
        assert (refused.value.status, refused.value.kind) == (status, kind)

    served(tmp_path / "device", release_folder, use)


def test_a_batch_has_an_answer_for_each(tmp_path: Path, release_folder: Path) -> None:
    async def use(service: DeviceService) -> None:
        batch = [body(1), body(2, currency="XXX"), body(3)]
        answer = await service.decide(posted({"transactions": batch}))
        found = json.loads(answer.body)["answers"]
        assert answer.status == 207
        assert [each["status"] for each in found] == [200, 422, 200]
        assert [each["decision"]["sequence"] for each in found[::2]] == [1, 2]

    served(tmp_path / "device", release_folder, use)


@pytest.mark.parametrize("host", ["127.0.0.1:8090", "localhost:8090", "[::1]:8090", "::1"])
def test_programs_of_this_machine_are_answered(
    tmp_path: Path, release_folder: Path, host: str
) -> None:
    async def use(service: DeviceService) -> None:
        assert (await service.decide(posted(body(1), host))).status == 200

    served(tmp_path / "device", release_folder, use)


@pytest.mark.parametrize(
    "host",
    ["evil.example:8090", "", "127.0.0.1.evil.example", "192.168.0.7:8090", "[::1].evil:8090"],
)
def test_a_page_of_another_site_is_refused(tmp_path: Path, release_folder: Path, host: str) -> None:
    async def use(service: DeviceService) -> None:
        for answer in (service.decide, service.status):
            with pytest.raises(Problem, match="address of loopback"):
                await answer(posted(body(1), host))

    served(tmp_path / "device", release_folder, use)


def test_a_device_changes_over_between_requests(tmp_path: Path, release_folder: Path) -> None:
    async def use(service: DeviceService) -> None:
        first = await service.decide(posted(body(1)))
        assert await service.reload() is None
        assert (await service.decide(posted(body(1)))).body == first.body
        assert json.loads((await service.decide(posted(body(2)))).body)["sequence"] == 2

    served(tmp_path / "device", release_folder, use)


def test_a_consent_to_a_gap_is_not_for_the_next_release(
    tmp_path: Path, release_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def progress(options: DeviceOptions, _: object) -> EdgeProgress:
        asked.append(options.accept_gap)
        return EdgeProgress()

    monkeypatch.setattr(open_device, "_progress", progress)

    async def use(service: DeviceService) -> None:
        assert await service.reload() is None

    options = cold(release_folder, accept_gap=True)
    served(tmp_path / "device", options, use)
    assert asked == [True, False]


def lines(folder: Path, release: Path, text: bytes, ahead: int = 64) -> list[dict[str, Any]]:
    out = io.BytesIO()
    with opened_device(device_settings(folder), cold(release)) as device:
        answer_lines(device, io.BytesIO(text), out, ahead=ahead)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("ahead", [1, 3, 64])
def test_lines_are_answered_in_order(tmp_path: Path, release_folder: Path, ahead: int) -> None:
    text = b"\n".join(json.dumps(body(number)).encode() for number in range(7))
    found = lines(tmp_path / "device", release_folder, text + b"\n", ahead)
    assert [each["sequence"] for each in found] == list(range(1, 8))


def test_each_wrong_line_has_its_code(tmp_path: Path, release_folder: Path) -> None:
    long = b'{"a":"' + b"x" * LINE_BYTES_MOST + b'"}'
    rows = [b"{", b"[]", b"[{}]", json.dumps(body(1, currency="XXX")).encode(), long, b""]
    text = b"\n".join([*rows, json.dumps(body(2)).encode()])
    found = lines(tmp_path / "device", release_folder, text)
    codes = [each["error"]["code"] for each in found[:-1]]
    assert codes == ["INVALID_JSON", "INVALID_JSON", "INVALID_JSON", "CURRENCY", "TOO_LARGE"]
    assert found[-1]["sequence"] == 1


class Pipe(io.BytesIO):
    """Gives one piece at each read, and notes what was answered before it."""

    def __init__(self, out: io.BytesIO, *pieces: bytes) -> None:
        super().__init__()
        self._out, self._pieces = out, [*pieces]
        self.answered: list[int] = []

    def read1(self, size: int | None = -1, /) -> bytes:
        del size
        self.answered.append(self._out.getvalue().count(b"\n"))
        return self._pieces.pop(0) if self._pieces else b""


def test_a_line_is_answered_before_the_next_read(tmp_path: Path, release_folder: Path) -> None:
    first, second, third, fourth = (json.dumps(body(n)).encode() for n in range(4))
    long = b"x" * (LINE_BYTES_MOST + 1)
    out = io.BytesIO()
    pieces = first + b"\n\n", second + b"\n \n" + long, b"x\n" + third + b"\n" + fourth, b"\n"
    pipe = Pipe(out, *pieces)
    with opened_device(device_settings(tmp_path / "device"), cold(release_folder)) as device:
        answer_lines(device, pipe, out)
    # A blank line is no further line; lines after one that is too long are answered like others.
    assert pipe.answered == [0, 1, 3, 4, 5]
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert found[2]["error"]["code"] == "TOO_LARGE"
    assert [each["sequence"] for each in found if "sequence" in each] == [1, 2, 3, 4]


def test_a_device_that_failed_while_it_waited_ends_so(tmp_path: Path, release_folder: Path) -> None:
    with opened_device(device_settings(tmp_path / "device"), cold(release_folder)) as device:
        device.scorer.failure = EdgeError("revoked meanwhile", "none")
        with pytest.raises(EdgeError, match="revoked meanwhile"):
            answer_lines(device, io.BytesIO(b""), io.BytesIO())


def test_keys_are_made_once_and_stay_private(tmp_path: Path) -> None:
    settings = device_settings(tmp_path / "device")
    request = DeviceRequest.from_json((tmp_path / "device" / f"{DEVICE}.request.json").read_bytes())
    files = KeyFiles.of(settings)
    assert request.device == DEVICE
    assert request.signing_key == files.signing_key().public_key().public_bytes_raw()
    assert request.sealing_key == files.sealing_key().public
    for path in (files.signing, files.sealing, files.state):
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(SettingsError, match="exists already"):
        init_device(settings)


KEYS = ("signing.key", "signing.key.pub", "sealing.key", "state.key")


@pytest.mark.parametrize("made", range(1, len(KEYS) + 1))
def test_an_init_that_was_stopped_names_what_to_delete(tmp_path: Path, made: int) -> None:
    folder = tmp_path / "device"
    settings = device_settings(folder)
    (folder / f"{DEVICE}.request.json").unlink()
    for name in KEYS[made:]:
        (folder / name).unlink()
    with pytest.raises(SettingsError, match="an `edge init` was stopped") as refused:
        init_device(settings)
    assert sorted(path.name for path in folder.iterdir()) == sorted(KEYS[:made])
    named = refused.value.fix.partition("delete ")[2].removesuffix(", and repeat").split(", ")
    assert named == [str(folder / name) for name in KEYS[:made]]
    for path in named:
        Path(path).unlink()
    assert init_device(settings).request.exists()


def test_keys_of_a_device_that_decides_are_not_advised_away(tmp_path: Path) -> None:
    settings = device_settings(tmp_path / "device")
    (tmp_path / "device" / f"{DEVICE}.request.json").unlink()
    (tmp_path / "device" / LOG).touch()
    with pytest.raises(SettingsError, match="a device is made once"):
        init_device(settings)


def test_a_notice_of_the_files_reaches_the_command(
    tmp_path: Path, release_folder: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "device"
    with opened_device(device_settings(folder), cold(release_folder)) as device:
        answer_lines(device, io.BytesIO(json.dumps(body(1)).encode()), io.BytesIO())
    (folder / LOG).unlink()
    words = ("edge", "run", "--stdin", "--accept-gap", "--accept-cold")
    monkeypatch.setattr(
        sys, "argv", ["stream-scorer", *words, "--device", DEVICE, "--release", str(release_folder)]
    )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setenv("STREAM_SCORER_EDGE__DIRECTORY", str(folder))
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert "continues after row 0 with --accept-gap: " in capsys.readouterr().err


def test_a_device_without_a_release_names_the_command(tmp_path: Path) -> None:
    settings = device_settings(tmp_path / "device")
    with pytest.raises(EdgeError, match="edge install"), opened_device(settings, cold(None)):
        pass


def revocation(operator: Ed25519PrivateKey, after: int | None, device: str = DEVICE) -> Any:
    key = base64.b64encode(bytes(32)).decode()
    keys = (RegisteredKey(public=key),)
    body = DeviceRegistration(device=device, keys=keys, revoked_after=after)
    record = registered(body, 2, 1, operator)
    return {
        "registration": {
            **asdict(record), "signature": base64.b64encode(record.signature).decode()
        }
    }  # fmt: skip


def test_only_a_signed_revocation_erases(tmp_path: Path) -> None:
    operator, stranger = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = base64.b64encode(operator.public_key().public_bytes_raw()).decode()
    settings = device_settings(tmp_path / "device", trusted_keys={"risk": public})
    state = KeyFiles.of(settings).state
    harmless: list[dict[str, Any]] = [
        {}, {"registration": None}, {"registration": {}}, revocation(stranger, 3),
        revocation(operator, None), revocation(operator, 3, "another"),
    ]  # fmt: skip
    for document in harmless:
        obey(document, settings)
        assert state.exists()
    forged = revocation(operator, None)
    forged["registration"]["body"] = forged["registration"]["body"].replace("null", "3")
    obey(forged, settings)
    assert state.exists()
    sealed = settings.edge.directory / STATE
    sealed.write_bytes(b"histories")
    with pytest.raises(EdgeRevokedError, match="after row 3"):
        obey(revocation(operator, 3), settings)
    assert not state.exists()
    assert not sealed.exists()
