"""A real Prometheus and a real Alertmanager on the committed rules, for a real run."""

import json
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
    """Both programs, with the configurations and rules of compose; only addresses are replaced.

    Args:
        folder: For their data and logs.
        targets: Ports that are scraped.
        notified: Receives pages and tickets.
    """

    def __init__(self, folder: Path, targets: Sequence[int], notified: Notified) -> None:
        self._stack = ExitStack()
        self.port, alerting = free_ports(2)
        document = _read(COMPOSE / "prometheus" / "alertmanager.yml")
        for receiver in document["receivers"]:
            url = f"http://127.0.0.1:{notified.port}/{receiver['name']}"
            receiver["webhook_configs"] = [{"url": url}]
        _write(folder / "alertmanager.yml", document)
        document = _read(COMPOSE / "prometheus.yml")
        document["rule_files"] = [str(COMPOSE / "prometheus" / "rules" / "*.yaml")]
        (manager,) = document["alerting"]["alertmanagers"]
        manager["static_configs"] = [{"targets": [f"127.0.0.1:{alerting}"]}]
        (job,) = document["scrape_configs"]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets]}]
        _write(folder / "prometheus.yml", document)
        self._start(
            folder, "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{alerting}",
            "--cluster.listen-address=",
        )  # fmt: skip
        self._start(
            folder, "prometheus", f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self.port}",
        )  # fmt: skip

    def _start(self, folder: Path, name: str, *words: str) -> None:
        program = shutil.which(name)
        assert program, f"{name} is missing: apt-get install prometheus prometheus-alertmanager"
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen([program, *words], stdout=log, stderr=log)  # noqa: S603 a program of the machine
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)

    def close(self) -> None:
        self._stack.close()

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


def _read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def _write(path: Path, document: Any) -> None:
    with path.open("w") as file:
        YAML().dump(document, file)
