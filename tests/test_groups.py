"""Which tests stay in one process under `make test` (tests/conftest.py): whoever starts or shares a server is in its group."""

import pytest

from pipeline import ROOT
from tests.conftest import STAY_TOGETHER, group_of

FILES = {f.relative_to(ROOT).as_posix(): f.read_text(encoding="utf-8") for f in sorted((ROOT / "tests").rglob("test_*.py"))}


def test_every_group_has_tests():
    places = [place for group in STAY_TOGETHER.values() for place in group]
    assert [place for place in places if not any(file.startswith(place) for file in FILES)] == []


@pytest.mark.parametrize(
    ("sign", "groups"),
    [
        ("argilla_server:", {"argilla"}),
        ("ArgillaServer(", {"argilla"}),
        ("import NO_VLLM", {"vllm"}),
        ('usefixtures("prefect")', {"prefect", "vllm"}),
        ("prefect):", {"prefect"}),
    ],
)
def test_what_shares_a_server_is_in_the_servers_group(sign, groups):
    files = [file for file, text in FILES.items() if sign in text and file != "tests/test_groups.py"]
    assert files
    assert {file: group_of(file) for file in files if group_of(file) not in groups} == {}


def test_a_test_of_no_group_goes_to_whoever_is_free():
    assert group_of("tests/train/test_x.py::test_y[a@b]") == "tests/train/test_x.py::test_y[a@b]"
