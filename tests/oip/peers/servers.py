"""Other servers of the protocol, each in a hash-locked environment of its own."""

import json
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stream_scorer.devkafka.cluster import free_ports
from tests.matrix.environments import ROOT, made
from tests.oip.rest import get
from tests.oip.target import OipTarget, SampleInput, sample_rows

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv-peers"
MODEL = "Peer"
START_SECONDS = 120
SAMPLE = SampleInput("features", "FP64", sample_rows(3, "FP64"))


@dataclass(frozen=True, slots=True)
class PeerServer:
    """A server to compare with.

    Attributes:
        name: Of its lock and of its record.
        version: Of its model; None if it has no versions.
        outputs: Of its model.
    """

    name: str
    version: str | None
    outputs: tuple[str, ...]

    def python(self) -> Path:
        """Return the Python of its environment, which is made if it is missing."""
        lock = (HERE / f"{self.name}.lock").read_text()
        return made(self.name, lock, "--require-hashes", below=ENVIRONMENTS)

    def recorded(self) -> Mapping[str, str]:
        """Return the reason of each case that it is known to fail, by the case's name."""
        entries = tomllib.loads((HERE / f"{self.name}.toml").read_text())["failures"]
        return {case: entry["reason"] for entry in entries for case in entry["cases"]}

    def command(self, python: Path, folder: Path, http: int, rpc: int) -> list[str]:
        """Return the command that serves the model in a folder.

        Args:
            python: Of its environment.
            folder: Has ``model.joblib``; settings are written into it.
            http: Port of REST.
            rpc: Port of gRPC.
        """
        if self.name == "kserve":
            ports = ["--http_port", str(http), "--grpc_port", str(rpc)]
            file = str(folder / "model.joblib")
            return [str(python), str(HERE / "kserve_server.py"), file, MODEL, *ports]
        settings = {
            "host": "127.0.0.1", "http_port": http, "grpc_port": rpc, "metrics_endpoint": None,
            "parallel_workers": 0, "debug": False,
        }  # fmt: skip
        model = {
            "name": MODEL,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "platform": "sklearn_joblib",
            "parameters": {"uri": "./model.joblib", "version": self.version},
            "inputs": [{"name": "features", "datatype": "FP64", "shape": [-1, 3]}],
            "outputs": [
                {"name": "predict", "datatype": "INT64", "shape": [-1, 1]},
                {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
            ],
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model))
        return [str(python.parent / "mlserver"), "start", str(folder)]


MLSERVER = PeerServer("mlserver", "v1", ("predict", "predict_proba"))
KSERVE = PeerServer("kserve", None, ("output-0",))


@contextmanager
def serving(peer: PeerServer, folder: Path) -> Iterator[OipTarget]:
    """Serve a small model until the block ends.

    Args:
        peer: The server.
        folder: For its model, settings and log.

    Raises:
        RuntimeError: It does not become ready; the end of its log is in the message.
    """
    python = peer.python()
    train = [str(python), str(HERE / "train.py"), str(folder / "model.joblib")]
    subprocess.run(train, check=True)  # noqa: S603 our own program
    http, rpc = free_ports(2)
    target = OipTarget(
        f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}", MODEL, peer.version, SAMPLE, peer.outputs
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 the peer
            peer.command(python, folder, http, rpc), cwd=folder, stdout=log, stderr=log
        )
    try:
        _await_ready(target, process, folder / "log")
        yield target
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(target: OipTarget, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if get(target, target.path("/ready")).status == 200:
                return
        except OSError:
            # It does not listen yet.
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the peer is not ready: {log.read_text()[-2000:]}")
