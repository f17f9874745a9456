"""The words for why rows are left out: one for each reason the code gives, none for a reason it does not give."""

import re

import pyarrow as pa
import pytest

from pipeline import ROOT
from pipeline.errors import TRANSIENT
from pipeline.plugins import load_plugin
from pipeline.reasons import WORDS, in_words

SOURCE = "\n".join(f.read_text() for f in (ROOT / "pipeline").rglob("*.py") if f.name != "reasons.py")


@pytest.mark.parametrize("reason", sorted(WORDS))
def test_every_explained_reason_is_one_that_the_code_gives(reason):
    assert f'"{reason}"' in SOURCE or reason in TRANSIENT or reason in _reasons_of("empty") | _reasons_of("truncated")
    assert len(WORDS[reason]) < 64


def test_every_failure_of_a_request_is_explained():
    given = set(re.findall(r'RequestFailed\(\s*"(\w+)"', SOURCE)) | set(re.findall(r'_Retry\("(\w+)"', SOURCE)) | TRANSIENT
    assert {r for r in given if not in_words(r)} == set()


def test_every_reason_of_a_gate_is_explained():
    for file in (ROOT / "pipeline" / "gates").glob("[a-z]*.py"):
        reasons = _reasons_of(file.stem)
        assert reasons, file.name
        assert {r for r in reasons if not in_words(r)} == set(), file.name


def _reasons_of(gate: str) -> set[str]:
    """What the gate says of pairs that are wrong in many ways."""
    texts = ["", "a", "same", "Same", "the cat sat on the mat today", "the cat sat on the mat to-day", "x" * 30_000]
    rows = [(c, r, f, g) for c in texts for r in texts for f in ("stop", "length") for g in ("stop", "length")]
    rows.append(("a longer one than the other", "the other", "stop", "stop"))
    columns = dict(zip(("chosen", "rejected", "finish_chosen", "finish_rejected"), zip(*rows, strict=True), strict=True))
    plugin = load_plugin("gates", gate)
    found = plugin.check(pa.table({k: pa.array(v, pa.string()) for k, v in columns.items()}), plugin.Settings())
    return {reason for reason in found.to_pylist() if reason}


def test_a_reason_of_somebody_elses_is_shown_as_it_is():
    assert in_words("not_ours") == ""
