"""A real Prometheus and a real Alertmanager on the committed rules, for a real run."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from ruamel.yaml import YAML

from stream_scorer.closing import Closing
from stream_scorer.devkafka.cluster import free_ports

COMPOSE = Path(__file__).parents[3] / "compose"
RECEIVERS = ("pages", "tickets")
_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\[|for: |offset )(\d+)([smhd])(?=\]|\)|$)", re.MULTILINE)


class Notified(Closing):
    """Receives the notifications of Alertmanager.

    Attributes:
        alerts: Names of the alerts that were notified as firing, by receiver, in order.
    """

    def __init__(self) -> None:
        self.alerts: dict[str, list[str]] = {name: [] for name in RECEIVERS}
        alerts = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                alerts[self.path.strip("/")] += [
                    each["labels"]["alertname"]
                    for each in body["alerts"]
                    if each["status"] == "firing"
                ]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Write nothing to the output of the tests."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class LivePrometheus(Closing):
    """Prometheus with the configuration and rules of compose; only addresses are replaced.

    Args:
        folder: For its data and logs.
        targets: Ports that are scraped.
        notified: Receives pages and tickets from an Alertmanager; without, none is started.
        pace: The windows and pending times of the rules are divided by it. Thresholds are not, so
            an outage of ten seconds counts at pace 30 as one of five minutes at pace 1.
    """

    def __init__(
        self, folder: Path, targets: Sequence[int], notified: Notified | None = None, pace: int = 1
    ) -> None:
        self._stack = ExitStack()
        self._targets = folder / "targets.json"
        (self.port,) = free_ports(1)
        document = _read(COMPOSE / "prometheus.yml")
        document["rule_files"] = [str(_rules(folder, pace) / "*.yaml")]
        if pace > 1:
            document["global"] = {"scrape_interval": "2s", "evaluation_interval": "1s"}
        (job,) = document["scrape_configs"]
        del job["dns_sd_configs"]
        job["file_sd_configs"] = [{"files": [str(self._targets)]}]
        self.scrape(targets)
        if notified is None:
            del document["alerting"]
        else:
            (manager,) = document["alerting"]["alertmanagers"]
            manager["static_configs"] = [{"targets": [self._start_manager(folder, notified)]}]
        _write(folder / "prometheus.yml", document)
        self._start(
            folder, "prometheus", f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}",
        )  # fmt: skip

    def _start_manager(self, folder: Path, notified: Notified) -> str:
        """Start Alertmanager; return its address."""
        address = f"127.0.0.1:{free_ports(1)[0]}"
        document = _read(COMPOSE / "prometheus" / "alertmanager.yml")
        for receiver in document["receivers"]:
            url = f"http://127.0.0.1:{notified.port}/{receiver['name']}"
            receiver["webhook_configs"] = [{"url": url}]
        _write(folder / "alertmanager.yml", document)
        self._start(
            folder, "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alertmanager", f"--web.listen-address={address}",
            "--cluster.listen-address=",
        )  # fmt: skip
        return address

    def _start(self, folder: Path, name: str, *words: str) -> None:
        program = shutil.which(name)
        assert program, f"{name} is missing: apt-get install prometheus prometheus-alertmanager"
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([program, *words], stdout=log, stderr=log)  # noqa: S603 a program of the machine
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)

    def close(self) -> None:
        self._stack.close()

    def scrape(self, targets: Sequence[int]) -> None:
        """Scrape these ports from now on."""
        wanted = [{"targets": [f"127.0.0.1:{port}" for port in targets]}]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(wanted))
        new.rename(self._targets)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the present values of an expression; empty while Prometheus starts."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query?query={quote(expression)}"
        try:
            with urlopen(url, timeout=10) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except OSError:
            return []

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = self.query('ALERTS{alertstate="firing"}')
        return {each["metric"]["alertname"] for each in found}

    def fired(self, seconds: float = 3_600.0) -> dict[str, str]:
        """Return the severity of every alert that has fired, by its name.

        Args:
            seconds: How long ago at most.
        """
        alerts = f'max_over_time(ALERTS{{alertstate="firing"}}[{seconds * 1_000:.0f}ms])'
        found = self.query(f"max by (alertname, severity) ({alerts})")
        return {each["metric"]["alertname"]: each["metric"]["severity"] for each in found}


def faster(text: str, pace: int) -> str:
    """Return rules whose windows and pending times are divided by a number."""

    def divided(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) * _MS[found[3]] // pace}ms"

    return _DURATION.sub(divided, text)


def _rules(folder: Path, pace: int) -> Path:
    """Return the folder of the rules at a pace."""
    committed = COMPOSE / "prometheus" / "rules"
    if pace == 1:
        return committed
    written = folder / "rules"
    written.mkdir()
    for path in committed.glob("*.yaml"):
        (written / path.name).write_text(faster(path.read_text(), pace))
    return written


def _read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def _write(path: Path, document: Any) -> None:
    with path.open("w") as file:
        YAML().dump(document, file)
