"""The dataset card: the YAML header that the hub and `datasets` read, and what a reader must know before they train on it."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from pipeline import __version__
from pipeline.settings import Anything, PublishSettings

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))

FOLDERS = {"default": "data", "kto": "kto", "sft": "sft"}
"""Configuration: its folder in the dataset."""


def write_card(folder: Path, settings: PublishSettings, name: str, rows: dict[str, dict[str, int]], figures: Anything) -> None:
    """README.md of a dataset folder. It holds no path and no time: the same pairs have the same card."""
    header = yaml.safe_dump(_header(settings, name, _version(folder), rows, figures), sort_keys=False, allow_unicode=True)
    (folder / "README.md").write_text(f"---\n{header}---\n\n{_body(settings, name, rows, figures)}", encoding="utf-8")


def _header(settings: PublishSettings, name: str, version: str, rows: dict[str, dict[str, int]], figures: Anything) -> Anything:
    total = sum(rows["default"].values())
    configs = [
        {
            "config_name": config,
            **({"default": True} if config == "default" else {}),
            "version": version,
            "data_files": [{"split": s, "path": f"{FOLDERS[config]}/{s}-*"} for s, n in splits.items() if n],
        }
        for config, splits in rows.items()
        if any(splits.values())
    ]
    return {
        "pretty_name": settings.title or name,
        "license": settings.license,
        "language": settings.language or figures["languages"],
        "task_categories": ["text-generation"],
        "tags": ["preference", "dpo", "kto", "pairsmith", *_origin_tags(figures)],
        "size_categories": [next((label for limit, label in _SIZES if total < limit), "n>10M")],
        "configs": configs,
    }


def _version(folder: Path) -> str:
    """A version that follows the rows, in the form that `datasets` takes. Its cache (5.2) knows a folder by its last name, its
    configuration and this; without it, a refreshed dataset, or another run's, would be loaded as the one that was loaded first."""
    state = hashlib.sha256()
    for file in sorted(folder.rglob("*.parquet")):
        with file.open("rb") as content:
            state.update(file.relative_to(folder).as_posix().encode() + hashlib.file_digest(content, "sha256").digest())
    digest = state.hexdigest()
    return f"0.{int(digest[:7], 16)}.{int(digest[7:14], 16)}"


def _origin_tags(figures: Anything) -> list[str]:
    sources = figures["pairs"]["by_source"]
    return [tag for source, tag in (("llm", "rlaif"), ("human", "human-feedback"), ("rule", "rule-verified")) if source in sources]


def _body(settings: PublishSettings, name: str, rows: dict[str, dict[str, int]], figures: Anything) -> str:
    pairs = figures["pairs"]
    lines = [
        f"# {settings.title or name}",
        "",
        f"Preference pairs made with Pairsmith {__version__}: to each prompt, an answer that was judged better than another.",
        "",
        "| configuration | rows | " + " | ".join(rows["default"]) + " |",
        "|---|---|" + "---|" * len(rows["default"]),
        *(f"| `{config}` | {sum(n.values())} | " + " | ".join(map(str, n.values())) + " |" for config, n in rows.items()),
        "",
        "```python",
        "from datasets import load_dataset",
        "load_dataset(folder)           # prompt, chosen, rejected",
        'load_dataset(folder, "kto")    # prompt, completion, label',
        'load_dataset(folder, "sft")    # messages',
        "```",
        "",
        "## How it was made",
        "",
        *_table("stage", "in", "out", "dropped", [(s["stage"], s["in"], s["out"], s["in"] - s["out"]) for s in figures["stages"]]),
        "",
        *_table("dropped at", "because", "rows", None, [(d["stage"], d["reason"], d["rows"]) for d in figures["dropped"]]),
        "",
        f"Judge: {figures['judge']['name'] or 'none'}. {_judge_sentence(figures['judge'])}",
        "",
        *_people_lines(figures.get("people")),
        "## What is in it",
        "",
        *_table("chosen", "rejected", "pairs", None, [(m["chosen"], m["rejected"], m["pairs"]) for m in pairs["by_models"]]),
        "",
        f"- Chosen is the longer answer in {_percent(pairs['chosen_longer'])} of the pairs.",
        f"- Judged by: {', '.join(f'{source} {n}' for source, n in pairs['by_source'].items()) or 'nobody'}.",
        "- A prompt's split hangs on its words alone; near-copies of a prompt stand on the same side.",
        "- An answer that is chosen in one pair and rejected in another is in neither `kto` nor `sft`.",
        "- `score_chosen`, `score_rejected` and `margin` are in the judge's unit; where a judge gives no scores, they are the share",
        "  of its comparisons that an answer won. TRL's RewardTrainer subtracts `margin` in its loss and needs it in every row;",
        "  remove the column where that is not meant.",
        "",
        f"Strategy: `{figures['strategy']}`; prompt files: {_prompt_files(figures)}; recipe `{figures['recipe_sha'][:12]}`.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _table(a: str, b: str, c: str, d: str | None, rows: list[tuple[Any, ...]]) -> list[str]:
    heads = [h for h in (a, b, c, d) if h]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def _judge_sentence(judge: Anything) -> str:
    if not judge["verdicts"]:
        return ""
    both = judge["both_orders"]
    flips = f" Of {both} comparisons judged in both orders, {judge['flipped']} ({_percent(judge['flip_rate'])}) flipped." if both else ""
    return f"{judge['verdicts']} verdicts, {judge['invalid']} invalid, {judge['ties']} ties.{flips}"


def _people_lines(people: Anything | None) -> list[str]:
    if not people:
        return []
    return [
        f"People decided {people['decided']} comparisons, and what they say stands instead of the judge's verdict: {people['overruled']} "
        f"times against it. {people['both_bad']} times they found both answers bad, {people['unresolved']} times they were not of one "
        f"mind; {people['rewrites']} answers they rewrote (model `people`).",
        "",
    ]


def _prompt_files(figures: Anything) -> str:
    shas = figures["judge"]["prompt_shas"]
    return ", ".join(f"`{sha[:12]}`" for sha in shas) or "none"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
