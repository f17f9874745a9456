"""Report: what a run did, counted from its tables. Rows are conserved: what went in came out or was dropped by name."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.budget import Budget
from pipeline.errors import RunError
from pipeline.judge import resolve
from pipeline.reasons import in_words
from pipeline.records import Verdict
from pipeline.runs import Run
from pipeline.session import Session
from pipeline.settings import Anything, digest
from pipeline.tables import read_table, to_records

STAGE_TABLES = ("answers", "verdicts", "pairs")


def figures_of(session: Session) -> Anything:
    """Everything that is counted of a run, as plain JSON values. Raises RunError where rows are not conserved."""
    run, shards = session.run, session.run.shards()
    dropped = _count_dropped(run)
    prompts, answers, comparisons, pairs = (_rows(shards, t) for t in ("prompts", "answers", "comparisons", "pairs"))
    asked = prompts * sum(m.settings.samples for m in session.models.values())
    judge = _judge_figures(session, shards)
    stages = [
        _stage("collect", prompts + _sum(dropped, "collect"), prompts),
        _stage("generate", asked, answers),
        *([_stage("compare", comparisons + _sum(dropped, "compare"), comparisons)] if session.judge else []),
        *([_stage("judge", comparisons, judge["comparisons_judged"])] if session.judge else []),
        _stage("pair", pairs + _sum(dropped, "pair", "gate"), pairs + _sum(dropped, "gate")),
        _stage("gate", pairs + _sum(dropped, "gate"), pairs),
    ]
    for stage in stages:
        _conserve(stage, _sum(dropped, stage["stage"]))
    for shard in shards:
        _conserve_prompts(shard)
    return {
        "name": session.recipe.name,
        "strategy": session.recipe.pair["strategy"],
        "recipe_sha": digest(session.recipe.what()),
        "languages": sorted(_values(shards, "prompts", "language")),
        "stages": stages,
        "dropped": [{"stage": s, "reason": r, "rows": n} for (s, r), n in sorted(dropped.items())],
        "judge": judge,
        "people": _people_figures(session, judge.pop("overruled")),
        "pairs": _pair_figures(shards),
    }


def usage_of(budget: Budget) -> Anything:
    """What this start of the run asked and spent, by model and in all."""
    fields = ("requests", "cached", "failed", "prompt_tokens", "completion_tokens", "dollars")
    models = {name: {f: getattr(u, f) for f in fields} for name, u in sorted(budget.usage.items())}
    total = budget.total()
    return {"models": models, "total": {f: getattr(total, f) for f in fields}}


def dropped_rows(run: Run, reason: str | None = None) -> Iterator[Anything]:
    """What was dropped, in the order of stages within a shard; of one reason, or all."""
    for file in _dropped_files(run):
        for row in read_table(file).to_pylist():
            if reason is None or row["reason"] == reason:
                yield row


def sample_pairs(run: Run, count: int) -> list[Anything]:
    """Pairs of a run, spread evenly over it, as rows."""
    shards = run.shards()
    total = _rows(shards, "pairs")
    wanted = [i * total // count for i in range(min(count, total))]
    rows: list[Anything] = []
    start = 0
    for shard in shards:
        held = _rows([shard], "pairs")
        if here := [i - start for i in wanted if start <= i < start + held]:
            rows += read_table(shard / "pairs.parquet").take(here).to_pylist()
        start += held
    return rows


def prompt_texts(run: Run, ids: Iterable[str]) -> dict[str, str]:
    """The last message of these prompts."""
    wanted = set(ids)
    found: dict[str, str] = {}
    for shard in run.shards():
        table = read_table(shard / "prompts.parquet", ["id", "messages"])
        for row in table.filter(pc.is_in(table["id"], value_set=pa.array(sorted(wanted), pa.string()))).to_pylist():
            found[row["id"]] = row["messages"][-1]["content"]
    return found


def _stage(name: str, came: int, left: int) -> Anything:
    return {"stage": name, "in": came, "out": left}


def _conserve(stage: Anything, dropped: int) -> None:
    if stage["in"] != stage["out"] + dropped:
        raise RunError(
            f"rows were lost at '{stage['stage']}': {stage['in']} came in, {stage['out']} left, {dropped} were dropped by name; "
            "nothing was published: this is an error of Pairsmith's, please report it with the run folder"
        )


def _conserve_prompts(shard: Path) -> None:
    """Every prompt of a shard ends in a pair, or in a row that says why not."""
    ended = [read_table(shard / f"pairs{part}.parquet", ["prompt_id"])["prompt_id"] for part in ("", ".dropped")]
    prompts = read_table(shard / "prompts.parquet", ["id"])["id"]
    found = len(pc.unique(pa.chunked_array([c for column in ended for c in column.chunks], pa.string())))
    _conserve({"stage": f"pair (shard {shard.name})", "in": len(prompts), "out": found}, 0)


def _rows(shards: Sequence[Path], table: str) -> int:
    files = (s / f"{table}.parquet" for s in shards)
    return sum(pq.read_metadata(f).num_rows for f in files if f.is_file())


def _dropped_files(run: Run) -> list[Path]:
    files = [run.path / "collect.dropped.parquet"]
    files += [s / f"{table}.dropped.parquet" for s in run.shards() for table in STAGE_TABLES]
    return [f for f in files if f.is_file()]


def _count_dropped(run: Run) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for file in _dropped_files(run):
        table = read_table(file, ["stage", "reason"])
        for row in table.group_by(["stage", "reason"]).aggregate([([], "count_all")]).to_pylist():
            counts[row["stage"], row["reason"]] += row["count_all"]
    return counts


def _sum(dropped: Counter[tuple[str, str]], *stages: str) -> int:
    return sum(n for (stage, _), n in dropped.items() if stage in stages)


def _values(shards: Sequence[Path], table: str, column: str) -> set[str]:
    found = (read_table(s / f"{table}.parquet", [column])[column].unique().to_pylist() for s in shards)
    return {value for values in found for value in values if value}


def _judge_figures(session: Session, shards: Sequence[Path]) -> Anything:
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    shas: set[str] = set()
    disagreements: list[float] = []
    scores: dict[str, list[float]] = {}
    accept, weights = session.pair_settings.accept_one_order, getattr(session.judge, "weights", None)
    says = session.people.all.says
    for shard in shards if session.judge else []:
        given: dict[str, list[Verdict]] = {}
        for verdict in to_records(Verdict, read_table(shard / "verdicts.parquet")):
            given.setdefault(verdict.comparison_id, []).append(verdict)
            counts["verdicts"] += 1
            counts["invalid"] += verdict.choice == "invalid"
            counts["ties"] += verdict.choice == "tie"
            scores.setdefault(verdict.judge, []).extend(s for s in (verdict.score_a, verdict.score_b) if s is not None)
            if verdict.choice in ("A", "B") and verdict.order:
                counts["decided"] += 1
                counts["first"] += (verdict.choice == "A") == (verdict.order == "AB")
            if verdict.reason:
                reasons[verdict.reason] += 1
            if verdict.prompt_sha:
                shas.add(verdict.prompt_sha)
        counts["comparisons"] += len(given)
        for comparison, verdicts in given.items():
            outcome = resolve(verdicts, accept_one_order=accept, weights=weights)
            disagreement, say = outcome.disagreement, says.get(comparison)
            if say and outcome.result in ("A", "B"):
                counts["overruled"] += say.result not in (outcome.result, "unresolved")
            disagreements += [] if disagreement is None else [disagreement]
            for judge in {v.judge for v in verdicts}:
                valid = [v for v in verdicts if v.choice != "invalid" and v.judge == judge]
                if {v.order for v in valid} == {"AB", "BA"}:
                    counts["both"] += 1
                    counts["flipped"] += resolve(valid).result == "flipped"
    return {
        "name": session.judge.name if session.judge else None,
        "comparisons_judged": counts["comparisons"],
        "verdicts": counts["verdicts"],
        "invalid": counts["invalid"],
        "invalid_by_reason": dict(sorted(reasons.items())),
        "ties": counts["ties"],
        "both_orders": counts["both"],
        "flipped": counts["flipped"],
        "flip_rate": counts["flipped"] / counts["both"] if counts["both"] else None,
        "first_position_share": counts["first"] / counts["decided"] if counts["both"] and counts["decided"] else None,
        "disagreement": sum(disagreements) / len(disagreements) if disagreements else None,
        "disagreed": sum(d > 0 for d in disagreements),
        "overruled": counts["overruled"],
        "mean_scores": {judge: sum(of) / len(of) for judge, of in sorted(scores.items()) if of},
        "prompt_shas": sorted(shas),
    }


def _people_figures(session: Session, overruled: int) -> Anything | None:
    """What people decided, and how often against a winner of the judge's; None where they said nothing."""
    people = session.people.all
    if not people:
        return None
    results = Counter(say.result for say in people.says.values())
    return {
        "decided": len(people.decided),
        "overruled": overruled,
        "both_bad": results["both_bad"],
        "unresolved": results["unresolved"],
        "rewrites": len(people.rewrites),
    }


def people_sentence(people: Anything) -> str:
    return (
        f"People decided {people['decided']} comparisons ({people['overruled']} of them against the judge, {people['both_bad']} both bad), "
        f"could not agree on {people['unresolved']}, and rewrote {people['rewrites']} answers"
    )


def _pair_figures(shards: Sequence[Path]) -> Anything:
    models: Counter[tuple[str, str]] = Counter()
    sources: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    longer = total = 0
    margins: list[Any] = []
    for shard in shards:
        table = read_table(shard / "pairs.parquet", ["chosen", "rejected", "chosen_model", "rejected_model", "source", "split", "margin"])
        models.update(zip(table["chosen_model"].to_pylist(), table["rejected_model"].to_pylist(), strict=True))
        sources.update(table["source"].to_pylist())
        splits.update(table["split"].to_pylist())
        longer += pc.sum(pc.greater(pc.utf8_length(table["chosen"]), pc.utf8_length(table["rejected"]))).as_py() or 0
        total += len(table)
        margins.append(table["margin"].drop_null().to_numpy())
    margin = np.concatenate(margins) if margins else np.empty(0)
    return {
        "rows": total,
        "by_split": dict(sorted(splits.items())),
        "by_source": dict(sorted(sources.items())),
        "by_models": [{"chosen": c, "rejected": r, "pairs": n} for (c, r), n in sorted(models.items())],
        "chosen_longer": longer / total if total else None,
        "mean_margin": float(margin.mean()) if len(margin) else None,
    }


def markdown(figures: Anything, usage: Anything, unchanged: bool) -> str:
    """The run in words, for the run folder and Prefect's pages."""
    judge, pairs = figures["judge"], figures["pairs"]
    lines = [
        f"# {figures['name']}: {pairs['rows']} pairs" + (" (nothing new)" if unchanged else ""),
        "",
        "| stage | in | out | dropped |",
        "|---|---:|---:|---:|",
        *(f"| {s['stage']} | {s['in']} | {s['out']} | {s['in'] - s['out']} |" for s in figures["stages"]),
        "",
        "| dropped at | because | rows | that is |",
        "|---|---|---:|---|",
        *(f"| {d['stage']} | {d['reason']} | {d['rows']} | {in_words(d['reason'])} |" for d in figures["dropped"]),
        "",
        f"- Splits: {', '.join(f'{name} {n}' for name, n in pairs['by_split'].items()) or 'none'}",
        f"- Chosen longer than rejected: {_share(pairs['chosen_longer'])}",
        f"- Judge: {judge['name'] or 'none'}; {judge['verdicts']} verdicts, {judge['invalid']} invalid, {judge['ties']} ties",
        f"- Flipped with the order: {_share(judge['flip_rate'])} of {judge['both_orders']}",
        f"- The answer shown first won: {_share(judge['first_position_share'])} of the decided verdicts",
        *([f"- {people_sentence(figures['people'])}"] if figures.get("people") else []),
        *(
            [
                f"- Several judges: not of one mind on {judge['disagreed']}; in the mean {_share(judge['disagreement'])} of their weight "
                "is against the most of it"
            ]
            if judge["disagreement"] is not None
            else []
        ),
        "",
        "| model | asked | from cache | failed | tokens | dollars |",
        "|---|---:|---:|---:|---:|---:|",
        *(_usage_row(name, used) for name, used in usage["models"].items()),
        "",
    ]
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _usage_row(name: str, used: Anything) -> str:
    tokens = used["prompt_tokens"] + used["completion_tokens"]
    return f"| {name} | {used['requests']} | {used['cached']} | {used['failed']} | {tokens} | {used['dollars']:.4f} |"
