"""In production mode, each unsafe setting is refused, with its name and its fix."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stream_scorer.cli.main import app
from stream_scorer.errors import SettingsError
from stream_scorer.hardening.settings_check import (
    file_findings,
    refuse_unsafe,
    refuse_unsafe_device,
    setting_findings,
)
from stream_scorer.models.commands.sign import sign_plan_file
from stream_scorer.models.stores.deployment import load_plan, plan_of, plan_trust
from stream_scorer.models.stores.store import FolderStore
from stream_scorer.security.keys import generate
from stream_scorer.settings import Settings, load_settings

KEY = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
SAFE: dict[str, Any] = {
    "mode": "production",
    "kafka": {
        "bootstrap": "b:9092", "instance": "scorer-1",
        "client": {"security.protocol": "SASL_SSL"},
    },
    "registry": {"url": "https://registry", "user": "me", "password": "correct horse"},
    "models": {"require_signature": True, "trusted_keys": {"release": KEY}},
    "rollout": {"require_signature": True, "operator_keys": {"risk": KEY}},
    "audit": {"path": "/var/log/audit.log"},
    "state": {"mac_key_file": "/etc/stream-scorer/mac.key"},
}  # fmt: skip

TOKENS = {
    "token_issuer": "https://login.example/", "token_audience": "a", "token_keys": "k",
    "token_scopes": {"x": ["score"]},
}  # fmt: skip


def settings(**changed: dict[str, Any]) -> Settings:
    table = {
        group: values | changed.get(group, {}) if isinstance(values, dict) else values
        for group, values in (SAFE | {g: {} for g in changed if g not in SAFE}).items()
    }
    return load_settings(table)


def test_safe_settings_have_no_finding() -> None:
    assert list(setting_findings(settings())) == []
    local = {"host": "10.0.0.1", "unix_socket": "/run/s"}
    assert list(setting_findings(settings(serving=local))) == []
    for endpoint in ("http://127.0.0.1:4318/v1/traces", "https://collector:4318/v1/traces"):
        assert list(setting_findings(settings(serving={"tracing": {"endpoint": endpoint}}))) == []
    refuse_unsafe(settings())


@pytest.mark.parametrize(
    ("changed", "setting"),
    [
        ({"kafka": {"client": {}}}, "kafka.client security.protocol"),
        ({"kafka": {"client": {"security.protocol": "SASL_PLAINTEXT"}}},
         "kafka.client security.protocol"),
        ({"kafka": {"client": {"security.protocol": "SSL",
                               "enable.ssl.certificate.verification": False}}},
         "kafka.client enable.ssl.certificate.verification"),
        ({"kafka": {"client": {"security.protocol": "SSL",
                               "ssl.endpoint.identification.algorithm": "none"}}},
         "kafka.client ssl.endpoint.identification.algorithm"),
        ({"kafka": {"instance": "0"}}, "kafka.instance"),
        ({"registry": {"url": "http://registry"}}, "registry.url"),
        ({"registry": {"url": "https://a,http://b"}}, "registry.url"),
        ({"registry": {"user": ""}}, "registry.user"),
        ({"registry": {"password": None}}, "registry.user"),
        ({"state": {"url": "http://store/checkpoints"}}, "state.url"),
        ({"models": {"url": "ftp://store/models"}}, "models.url"),
        ({"models": {"require_signature": False}}, "models.require_signature"),
        ({"rollout": {"require_signature": False}}, "rollout.require_signature"),
        ({"audit": {"path": None}}, "audit.path"),
        ({"http": {"host": "0.0.0.0", "token": "correct horse battery"}}, "http.tls_certificate"),  # noqa: S104
        ({"http": {"host": "10.0.0.1", "tls_certificate": "c", "tls_key": "k"}}, "http.token"),
        ({"serving": {"host": "0.0.0.0"}}, "serving.tls_certificate"),  # noqa: S104
        ({"serving": {"host": "10.0.0.1", "unix_socket": "/run/s", "grpc_port": 9}},
         "serving.tls_certificate"),
        ({"serving": {"tracing": {"endpoint": "http://10.0.0.1:4318/v1/traces"}}},
         "serving.tracing.endpoint"),
        ({"state": {"mac_key_file": None}}, "state.mac_key_file"),
        ({"state": {"mac_required": False}}, "state.mac_required"),
        ({"state": {"url": "simplecache::http://store/checkpoints"}}, "state.url"),
        ({"models": {"url": "webhdfs://store/models"}}, "models.url"),
        ({"models": {"url": "zip://m::https://store/models.zip"}}, "models.url"),
        ({"state": {"url": "s3://b/state?scheme=http"}}, "state.url"),
        ({"state": {"url": "s3://b/state?scheme=HTTP&endpoint_override=minio"}}, "state.url"),
        ({"models": {"url": "s3://b/m?endpoint_override=http%3A%2F%2Fminio%3A9"}}, "models.url"),
        ({"models": {"url": "s3://b/m?endpoint_url=http://minio"}}, "models.url"),
        ({"models": {"url": "s3://b/m?use_ssl=False"}}, "models.url"),
        *(
            ({"kafka": {"client": {"security.protocol": "sasl_ssl", option: value}}},
             f"kafka.client {option}")
            for option, value in (
                ("sasl.oauthbearer.token.endpoint.url", "http://login.example/token"),
                ("sasl.oauthbearer.token.endpoint.url", "HTTP://login.example/token"),
                ("sasl.oauthbearer.token.endpoint.url", "https://me:hunter2@login.example/t"),
                ("enable.sasl.oauthbearer.unsecure.jwt", True),
                ("ssl.cipher.suites", "ALL:eNULL"),
                ("ssl.cipher.suites", "ALL:@SECLEVEL=0"),
                ("ssl.cipher.suites", "COMPLEMENTOFDEFAULT:@SECLEVEL=0"),
                ("ssl.cipher.suites", "ECDHE:@SECLEVEL=0"),
                ("enable.ssl.certificate.verification", "F"),
                ("ssl.endpoint.identification.algorithm", "NONE"),
            )
        ),
        ({"kafka": {"bootstrap": "PLAINTEXT://far:9092"}}, "kafka.client security.protocol"),
        ({"serving": {"access": {"open_on_loopback": True}}}, "serving.access.open_on_loopback"),
        ({"serving": {"access": TOKENS | {"token_lifetime_seconds": 86_401}}},
         "serving.access.token_lifetime_seconds"),
    ],
)  # fmt: skip
def test_each_unsafe_setting_is_found_and_refused(changed: dict[str, Any], setting: str) -> None:
    unsafe = settings(**changed)
    (found,) = setting_findings(unsafe)
    assert found.setting == setting
    assert found.fix
    assert "\n" not in str(found)
    with pytest.raises(SettingsError) as refused:
        refuse_unsafe(unsafe)
    assert setting in refused.value.what
    assert refused.value.fix == found.fix
    refuse_unsafe(unsafe.model_copy(update={"mode": "development"}))


def test_a_device_is_judged_by_what_it_uses() -> None:
    unused: dict[str, Any] = {
        "kafka": {"client": {}, "instance": "0"},
        "rollout": {"require_signature": False},
    }
    refuse_unsafe_device(settings(**unused))
    refuse_unsafe_device(settings(kafka={"instance": "0"}, edge={"upload": "kafka"}))
    unsafe_ones: tuple[tuple[dict[str, Any], str], ...] = (
        (unused | {"edge": {"upload": "kafka"}}, "security.protocol"),
        ({"models": {"require_signature": False}}, "models.require_signature"),
        ({"http": {"host": "0.0.0.0"}}, "http.tls_certificate"),  # noqa: S104 refused
    )
    for changed, setting in unsafe_ones:
        unsafe = settings(**changed)
        with pytest.raises(SettingsError, match=setting):
            refuse_unsafe_device(unsafe)
        refuse_unsafe_device(unsafe.model_copy(update={"mode": "development"}))


@pytest.mark.parametrize("near", ["127.0.0.1:9092,localhost:9093", "[::1]:9092"])
def test_plaintext_within_the_machine_is_not_a_finding(near: str) -> None:
    kafka = {"bootstrap": near, "client": {}}
    assert list(setting_findings(settings(kafka=kafka, registry={"url": "http://localhost"}))) == []


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_a_variable_that_names_a_plaintext_store_is_found(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://minio:9000")
    (found,) = setting_findings(settings(state={"url": "s3://b/state"}))
    assert (found.setting, variable in found.problem) == ("state.url", True)
    assert list(setting_findings(settings())) == []
    monkeypatch.setenv(variable, "http://127.0.0.1:9000")
    assert list(setting_findings(settings(state={"url": "s3://b/state"}))) == []


def test_encrypted_endpoints_are_not_a_finding() -> None:
    client = {
        "security.protocol": "ssl",
        "sasl.oauthbearer.token.endpoint.url": "https://login.example/token",
    }
    url = "s3://b/state?scheme=https&endpoint_override=https://minio"
    assert list(setting_findings(settings(kafka={"client": client}, state={"url": url}))) == []


@pytest.mark.parametrize("option", ["metadata.broker.list", "request.required.acks"])
def test_another_name_of_an_option_of_ours_is_refused(option: str) -> None:
    with pytest.raises(SettingsError, match=f"{option} cannot stand here"):
        settings(kafka={"client": {option: "PLAINTEXT://far:9092"}})


def test_a_secret_in_the_file_of_settings_is_found(tmp_path: Path) -> None:
    path = tmp_path / "scorer.toml"
    path.write_text(
        '[kafka]\npassword = "hunter2"\n[audit]\npassphrase = "hunter2"\n'
        '[http]\ntoken = "hunter2"\n'
    )
    found = list(file_findings(path))
    assert [each.setting for each in found] == ["kafka.password", "audit.passphrase", "http.token"]
    assert "hunter2" not in "".join(map(str, found))
    assert list(file_findings(None)) == []


class TestPlan:
    """A plan file in production."""

    @pytest.fixture
    def plan(self, tmp_path: Path) -> Path:
        (tmp_path / "store" / "fraud").mkdir(parents=True)
        path = tmp_path / "store" / "fraud" / "plan.toml"
        path.write_text("revision = 7\r\n", newline="")
        return path

    @pytest.fixture
    def signing(self, tmp_path: Path) -> tuple[Settings, Path]:
        made = generate(tmp_path / "key")
        return settings(models={"trusted_keys": {"release": made.public_base64}}, audit={
            "path": str(tmp_path / "audit.log")}), made.private  # fmt: skip

    def test_one_that_is_signed_is_loaded(self, plan: Path, signing: tuple[Settings, Path]) -> None:
        loaded, key = signing
        assert sign_plan_file(loaded, plan, key, None).name == "plan.toml.sig"
        trust = plan_trust(loaded)
        assert load_plan(plan, trust).revision == 7
        assert plan_of(FolderStore(plan.parents[1]), "fraud", None, trust).revision == 7
        assert "plan.sign" in (plan.parents[2] / "audit.log").read_text()

    @pytest.mark.parametrize("case", ["unsigned", "changed", "unknown key", "broken", "of another"])
    def test_any_other_is_refused(
        self, plan: Path, signing: tuple[Settings, Path], case: str, tmp_path: Path
    ) -> None:
        loaded, key = signing
        signature = plan.with_name("plan.toml.sig")
        if case != "unsigned":
            sign_plan_file(loaded, plan, key, None)
        if case == "changed":
            plan.write_text("revision = 8\n")
        if case == "unknown key":
            sign_plan_file(loaded, plan, generate(tmp_path / "other").private, None)
        if case == "broken":
            signature.write_text("{")
        if case == "of another":
            document = json.loads(signature.read_text())
            signature.write_text(json.dumps(document | {"signature": "AAAA"}))
        store = FolderStore(plan.parents[1])
        trust = plan_trust(loaded)
        with pytest.raises(SettingsError, match="plan") as refused:
            load_plan(plan, trust)
        assert refused.value.fix
        with pytest.raises(SettingsError, match="plan"):
            plan_of(store, "fraud", None, trust)

    def test_none_is_needed_outside_production(self, plan: Path) -> None:
        assert plan_trust(settings().model_copy(update={"mode": "development"})) is None
        assert load_plan(plan).revision == 7


def test_the_command_lists_the_findings_of_the_settings_alone(tmp_path: Path) -> None:
    path = tmp_path / "scorer.toml"
    path.write_text('[kafka]\nbootstrap = "b:9092"\n')
    answer = CliRunner().invoke(
        app, ["security", "check", "--offline", "--json", "--config", str(path)]
    )
    assert answer.exit_code == 2
    document = json.loads(answer.stdout)
    assert document["mode"] == "development"
    assert {"setting", "problem", "fix"} == set(document["findings"][0])
    assert "audit.path" in {each["setting"] for each in document["findings"]}
