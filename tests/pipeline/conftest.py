"""One vLLM server for the tests of the engine and of what is promoted: a start costs 20 seconds of two cores."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.model import make_engine
from pipeline.settings import ModelSettings, plugin_settings
from tests.harness.vllm import make_adapter, make_vllm_model, processes


@pytest.fixture(scope="package")
def vllm_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models, `base` and `other`, and two adapters of the first, `adapter` and `late`."""
    pytest.importorskip("peft", reason="peft is not installed: pip install -e '.[train]'")
    place = tmp_path_factory.mktemp("vllm")
    make_adapter(make_vllm_model(place / "base"), place / "adapter")
    make_adapter(place / "base", place / "late", rank=2, seed=1)
    make_vllm_model(place / "other", seed=1)
    return place


@pytest.fixture(scope="package")
def vllm_base(vllm_models: Path) -> Iterator[dict[str, Any]]:
    """The settings of the base model; its server is up, with one adapter, until the last of these tests has ended."""
    fields = {"model": str(vllm_models / "base"), "sampling": {"temperature": 0.9, "max_tokens": 48, "seed": 7}}
    raw = {"engine": "vllm", **fields, "adapter": str(vllm_models / "adapter")}
    keeper = make_engine("keeper", plugin_settings("engines", raw, "engine", "models.keeper", ModelSettings))
    asyncio.run(keeper.start())
    yield fields
    asyncio.run(keeper.close())
    assert not processes(str(vllm_models))
