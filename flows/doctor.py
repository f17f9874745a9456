"""`pairsmith doctor`: is this machine, this installation and, with a recipe, every model ready?"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

import orjson
from rich.console import Console

from flows.doctor_recipe import Finding, recipe_findings
from pipeline import ROOT, __version__
from pipeline.errors import RecipeError


def doctor_command(recipe: str | None, changes: list[str], *, as_json: bool) -> None:
    findings = [*_machine(), *_installation(), *(recipe_findings(recipe, changes) if recipe else [])]
    failed = [f for f in findings if f[0] == "fail"]
    if as_json:
        rows = [dict(zip(("state", "what", "found"), f, strict=True)) for f in findings]
        print(orjson.dumps({"ok": not failed, "findings": rows}).decode())
    else:
        console = Console(soft_wrap=True)
        for state, what, found in findings:
            console.print(f"{state:<5} {what:<22} {found}", markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise RecipeError(f"{len(failed)} of {len(findings)} checks failed, the first: {failed[0][1]}: {failed[0][2]}")


def _machine() -> Iterator[Finding]:
    yield "ok" if sys.version_info >= (3, 11) else "fail", "python", platform.python_version()
    data = ROOT / "data"
    free = shutil.disk_usage(data if data.exists() else ROOT).free / 2**30
    yield "ok" if free > 1 else "fail", "disk", f"{free:.1f} GiB free at {data}"
    yield "ok" if os.access(data if data.exists() else ROOT, os.W_OK) else "fail", "data folder", f"{data} can be written"
    url = os.environ.get("PREFECT_API_URL")
    yield "ok", "prefect server", url or "none named (PREFECT_API_URL): each run starts its own"
    yield "note", "gpu", "found" if shutil.which("nvidia-smi") else "none: models run elsewhere, or on the CPU"


def _installation() -> Iterator[Finding]:
    yield "ok", "pairsmith", __version__
    yield "note", "vllm", _vllm()
    locked = _locked()
    for name in sorted(
        {r.split(";")[0].split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip() for r in requires("pairsmith") or []}
    ):
        try:
            found, wanted = version(name), locked.get(name.lower().replace("_", "-"))
        except PackageNotFoundError:
            yield "note", name, "not installed (an extra)"
            continue
        if wanted and found.split("+")[0] != wanted:
            yield "note", name, f"{found}, while constraints.txt says {wanted}"


def _vllm() -> str:
    found = next(iter((ROOT / ".venv-vllm").glob("lib/python*/site-packages/vllm*-*.dist-info")), None)
    return found.stem.replace("_", "-") if found else "not installed (make vllm)"


def _locked() -> dict[str, str]:
    lock = ROOT / "constraints.txt"
    lines = lock.read_text().splitlines() if lock.is_file() else []
    pairs = (line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip().lower().replace("_", "-"): wanted.strip() for name, wanted in pairs}
