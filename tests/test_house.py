"""The rules of the house, read from the source: who may import whom, what may be large, and what is never used."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from pipeline import ROOT

LAYERS: tuple[tuple[str, str], ...] = (
    ("ground", "pipeline errors records"),
    (
        "nouns",
        "annotation budget cache check engine evaluation fingerprint model plugins prompts recipe runs settings sources tables thresholds "
        "turns",
    ),
    ("rooms", "engines judges strategies gates backends"),
    (
        "verbs",
        "collect generate compare judge annotate feedback pair gate publish card hub report session stages finish reasons passport "
        "identity evaluate",
    ),
)
"""Each imports from its own line and the lines above it, as DESIGN says: records, errors <- other nouns <- plug-in rooms <-
verbs <- flows. A new module of `pipeline` is given a line here first. `card` and `hub` are parts of publish; `session`,
`stages` and `finish` put the verbs together."""

NOUNS = {name for layer, names in LAYERS[:2] for name in names.split()}

PACKAGES = ("pipeline", "flows", "train")

HOMES: dict[str, tuple[str, ...]] = {
    "prefect": ("flows",),
    **dict.fromkeys(
        ("torch", "transformers", "peft", "trl", "bitsandbytes"),
        ("train", *(f"pipeline.engines.{name}" for name in ("transformers", "_causal_lm", "_likely", "_reward_model"))),
    ),
    "vllm": ("pipeline.engines.vllm",),
    "openai": ("pipeline.engines.openai",),
    "aiohttp": ("pipeline.engines.openai",),
    "argilla": ("pipeline.backends",),
    "crowdkit": ("pipeline.annotate",),
    **dict.fromkeys(("sklearn", "statsmodels", "krippendorff"), ("pipeline.passport",)),
}
"""Each vendor has one home."""

HEAVY = {
    *("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "vllm"),
    *("datasets", "pandas", "openai", "aiohttp", "jinja2", "rapidfuzz", "argilla", "huggingface_hub"),
    *("scipy", "sklearn", "statsmodels", "krippendorff"),
}
"""Never imported at module level; prefect neither, outside flows."""

NO_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}

LINES, FUNCTION_LINES, FUNCTION_WARNS = 300, 60, 40


@dataclass(frozen=True, slots=True)
class Import:
    """`module` imports `target`, a dotted name; `late` inside a function, `typing` for the type checker alone."""

    module: str
    target: str
    line: int
    late: bool
    typing: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@cache
def sources() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    return {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


def imports_in(module: str, node: ast.AST, *, late: bool = False, typing: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from (Import(module, target, child.lineno, late, typing) for target in targets(module, child))
            continue
        inner = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        checker = typing or (isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"))
        yield from imports_in(module, child, late=inner, typing=checker)


def targets(module: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules an import statement names; `from pipeline import cache` names `pipeline.cache`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = module if sources()[module].name == "__init__.py" else module.rpartition(".")[0]
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    return [f"{base}.{a.name}" if f"{base}.{a.name}" in sources() else base for a in node.names]


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(i for module in sources() for i in imports_in(module, tree(module)))


def lives_in(module: str, home: str) -> bool:
    return module == home or module.startswith(f"{home}.")


def layer(module: str) -> int | None:
    """The line of LAYERS that a module of `pipeline` is on."""
    name = module.split(".")[1] if "." in module else module
    return next((n for n, (_, names) in enumerate(LAYERS) if name in names.split()), None)


# --- who imports whom


def test_every_module_of_the_pipeline_has_its_layer() -> None:
    ours = [module for module in sources() if lives_in(module, "pipeline")]
    assert len(ours) > 30
    assert [module for module in ours if layer(module) is None] == []


def test_imports_in_the_pipeline_go_one_way() -> None:
    wrong = []
    for i in all_imports():
        if lives_in(i.module, "pipeline") and lives_in(i.target, "pipeline"):
            above, below = layer(i.module), layer(i.target)
            if above is None or below is None or below > above:
                wrong.append(str(i))
    assert wrong == []


def test_the_ground_imports_nothing_of_ours_but_the_ground() -> None:
    wrong = [str(i) for i in all_imports() if layer(i.module) == 0 and lives_in(i.module, "pipeline") and not_ground(i.target)]
    assert wrong == []


def not_ground(target: str) -> bool:
    return any(lives_in(target, package) for package in PACKAGES) and layer(target) != 0


def test_no_module_imports_itself_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for i in all_imports():
        if i.target in sources() and i.target != i.module and not i.typing:
            edges.setdefault(i.module, set()).add(i.target)
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


def test_the_pipeline_knows_nothing_of_flows_or_training() -> None:
    wrong = [
        str(i) for i in all_imports() if lives_in(i.module, "pipeline") and (lives_in(i.target, "flows") or lives_in(i.target, "train"))
    ]
    assert wrong == []


def test_training_knows_the_nouns_of_the_pipeline_and_no_flow() -> None:
    ours = [i for i in all_imports() if lives_in(i.module, "train")]
    wrong = [str(i) for i in ours if lives_in(i.target, "flows") or (lives_in(i.target, "pipeline") and last_name(i.target) not in NOUNS)]
    # The demo models are asked what prompts/identity holds, and learn none of what it holds out.
    assert [w for w in wrong if not re.match(r"train\.demo\.(chat|measure):.*pipeline\.identity", w)] == []


def last_name(target: str) -> str:
    return target.split(".")[1] if "." in target else target


@pytest.mark.parametrize("vendor", HOMES)
def test_every_vendor_has_one_home(vendor: str) -> None:
    strays = [str(i) for i in all_imports() if lives_in(i.target, vendor) and not any(lives_in(i.module, h) for h in HOMES[vendor])]
    assert strays == []


def test_nothing_heavy_is_imported_at_module_level() -> None:
    early = [i for i in all_imports() if not i.late and not i.typing]
    heavy = [str(i) for i in early if i.target.partition(".")[0] in HEAVY]
    prefect = [str(i) for i in early if lives_in(i.target, "prefect") and not lives_in(i.module, "flows")]
    assert heavy + prefect == []


def test_the_command_starts_without_anything_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-c", "import flows.cli"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines()}
    assert {"flows", "typer"} <= loaded
    assert loaded & {*HEAVY, "prefect", "pyarrow", "numpy", "pydantic"} == set()


# --- sizes and names


def test_no_file_is_longer_than_can_be_read() -> None:
    sizes = {module: len(file.read_text(encoding="utf-8").splitlines()) for module, file in sources().items()}
    assert {module: size for module, size in sizes.items() if size > LINES} == {}


def test_no_function_is_longer_than_can_be_read() -> None:
    sizes = {f"{m}.{f.name}": (f.end_lineno or 0) - f.lineno + 1 for m in sources() for f in functions(m)}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size > FUNCTION_WARNS:
            print(f"{size} lines: {name}")
    assert len(sizes) > 200
    assert {name: size for name, size in sizes.items() if size > FUNCTION_LINES} == {}


def functions(module: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_module_is_named_for_what_it_is() -> None:
    assert [module for module in sources() if NO_NAMES & set(module.split("."))] == []


def test_every_module_says_what_it_is() -> None:
    assert [module for module in sources() if not ast.get_docstring(tree(module))] == []


# --- what is never used

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}

NO_CALLS = {"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "torch.load"}

NO_ARGUMENTS = {"trust_remote_code", "allow_pickle", "shell"}
"""Not given, or given as a plain False."""


def forbidden(module: ast.AST) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"line {node.lineno}: import {name}" for name in names if name.partition(".")[0] in PICKLES)
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in NO_CALLS:
                yield f"line {node.lineno}: {ast.unparse(node.func)}()"
            for argument in node.keywords:
                if argument.arg in NO_ARGUMENTS and ast.unparse(argument.value) != "False":
                    yield f"line {node.lineno}: {ast.unparse(argument)}"
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            yield from (f"line {node.lineno}: {key!r}" for key in keys if key in NO_ARGUMENTS)


def test_nothing_from_outside_is_ever_run() -> None:
    assert [f"{module} {found}" for module in sources() for found in forbidden(tree(module))] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from dill import loads",
        "eval(text)",
        "exec(text)",
        "yaml.load(text)",
        "load(name, trust_remote_code=True)",
        "load(name, trust_remote_code=given)",
        "load(name, **{'trust_remote_code': True})",
        "np.load(file, allow_pickle=True)",
    ],
)
def test_the_rule_sees_what_it_forbids(code: str) -> None:
    assert len(list(forbidden(ast.parse(code)))) == 1


@pytest.mark.parametrize("code", ["yaml.safe_load(text)", "load(name, trust_remote_code=False)", "regex.compile(text)", "model.eval()"])
def test_the_rule_lets_the_harmless_pass(code: str) -> None:
    assert list(forbidden(ast.parse(code))) == []
