"""Which bundles answer, and that they are verified as by `stream-scorer run`."""

from pathlib import Path

import pytest

from stream_scorer.errors import ModelError, SettingsError
from stream_scorer.models.commands.sign import sign
from stream_scorer.security.keys import generate
from stream_scorer.serving.inference.loading import load_served
from stream_scorer.serving.settings.api import Serving
from stream_scorer.serving.settings.inference import Inference
from stream_scorer.settings import Models, Settings
from tests.support.models.noise_bundles import AMOUNT, write


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store")
    for version in ("1.9.0", "1.10.0"):
        write(path, version, (AMOUNT,))
    return path


def named(store: Path, *models: str, **others: object) -> Settings:
    return Settings(
        models=Models.model_validate({"directory": store, **others}),
        serving=Serving(inference=Inference(models=models)),
    )


def labels(settings: Settings, *asked: str) -> list[str]:
    return [f"{model.name}:{model.version}" for model in load_served(settings, asked)]


def test_the_bundles_of_the_flag_or_else_of_the_setting_answer(store: Path) -> None:
    assert labels(named(store, "fraud:1.9.0")) == ["fraud:1.9.0"]
    assert labels(named(store, "fraud", "fraud:1.9.0")) == ["fraud:1.10.0", "fraud:1.9.0"]
    # A bundle that is named twice is loaded, and answers, once.
    assert labels(named(store, "fraud", "fraud:1.10.0")) == ["fraud:1.10.0"]
    assert labels(named(store, "fraud:1.9.0"), "fraud:1.10.0") == ["fraud:1.10.0"]
    assert labels(named(store), "fraud:1.10.0") == ["fraud:1.10.0"]
    with pytest.raises(SettingsError, match=r"serving\.inference\.models"):
        load_served(named(store))


@pytest.mark.parametrize("reference", ["fraud:7.0.0", "other", "../fraud", "fraud:1.9", ""])
def test_what_the_store_does_not_have_is_refused(store: Path, reference: str) -> None:
    with pytest.raises(ModelError):
        load_served(named(store, reference))


def test_a_bundle_without_a_required_signature_is_refused(store: Path, tmp_path: Path) -> None:
    key = generate(tmp_path / "key")
    trusting = {"trusted_keys": {"release": str(key.public)}, "require_signature": True}
    settings = named(store, "fraud:1.9.0", **trusting)
    with pytest.raises(ModelError, match="sign"):
        load_served(settings)
    sign(named(store), "fraud:1.9.0", key.private, None, replace=False)
    assert labels(settings) == ["fraud:1.9.0"]
    with pytest.raises(ModelError, match="sign"):
        load_served(named(store, "fraud:1.9.0", "fraud:1.10.0", **trusting))


def test_an_altered_bundle_is_refused(store: Path) -> None:
    write(store, "1.11.0", (AMOUNT,))
    with (store / "fraud" / "1.11.0" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError):
        load_served(named(store, "fraud:1.11.0"))
