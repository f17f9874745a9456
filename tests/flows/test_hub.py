"""`--push-to-hub`: the real client, against a hub on this machine."""

import pytest

from tests.harness.command import pairsmith, write_recipe
from tests.harness.hub import hub

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect")]


def test_the_whole_folder_is_uploaded_private_and_the_token_reaches_no_file(tmp_path):
    with hub("hf_right") as there:
        recipe = write_recipe(tmp_path)
        ended = pairsmith(
            "build", recipe, "--push-to-hub", "me/pairs", "--json", HF_ENDPOINT=there.url, HF_TOKEN="hf_right", HF_HUB_OFFLINE="0"
        )
    assert ended.code == 0, ended.err
    folder = tmp_path / "run" / "dataset"
    assert there.files == {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert there.created[0].get("visibility") == "private"
    assert there.created[0]["type"] == "dataset"
    assert not any(b"hf_right" in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())


def test_a_token_that_is_refused_is_one_sentence_and_the_dataset_stays(tmp_path):
    with hub("hf_right") as there:
        recipe = write_recipe(tmp_path)
        ended = pairsmith(
            "build", recipe, "--push-to-hub", "me/pairs", "--json", HF_ENDPOINT=there.url, HF_TOKEN="hf_wrong", HF_HUB_OFFLINE="0"
        )
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "the hub refused me/pairs" in ended.err
    assert "hf_wrong" not in ended.err
    assert (tmp_path / "run" / "dataset" / "README.md").is_file()
