"""`output.push`: the real client, against a hub on this machine; and nothing is uploaded that was not asked for."""

import os
import subprocess
import sys

import orjson
import pytest
import yaml

from pipeline import ROOT
from tests.harness.hub import hub
from tests.harness.training import make_recipe

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[train]'")

pytestmark = pytest.mark.server

TOKEN = "hf_writesHere0123456789"


def train(folder, model, there, token, push="me/aria", **changes):
    raw = make_recipe(folder, model, **changes)
    raw["output"] |= {"push": push}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(raw))
    environment = {"HF_ENDPOINT": there.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": token, "HF_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", "train.run", str(folder / "recipe.yaml"), "--json"],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


def test_the_adapter_is_uploaded_private_and_the_token_reaches_no_file(tiny_model, tmp_path):
    with hub(TOKEN) as there:
        refused = train(tmp_path, tiny_model, there, "hf_wrong")
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr
        assert "pairsmith: the hub refused me/aria" in refused.stderr
        assert there.files == {}

        done = train(tmp_path, tiny_model, there, TOKEN)
        assert done.returncode == 0, done.stderr

    summary = orjson.loads(done.stdout)
    assert summary["unchanged"], "the weights were whole; only the upload was missing"
    assert summary["pushed"] == f"{there.url}/me/aria"
    folder = tmp_path / "out" / "adapter"
    assert there.files == {f.name: f.read_bytes() for f in folder.iterdir() if f.name != ".gitattributes"}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md"} <= there.files.keys()
    assert not [name for name in there.files if name.endswith((".bin", ".pt", ".pkl"))]
    assert str(tmp_path).encode() not in b"".join(there.files.values()), "no path of this machine"
    assert [c.get("visibility") == "private" or c.get("private") for c in there.created] == [True]
    texts = [f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()]
    assert not any(token.encode() in text for text in texts for token in (TOKEN, "hf_wrong"))
    assert not any(token in said for said in (refused.stderr, done.stderr, done.stdout) for token in (TOKEN, "hf_wrong"))
