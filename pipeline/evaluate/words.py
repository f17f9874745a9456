"""What an evaluation found, in sentences: the decision first, then what to know before it is trusted."""

from collections.abc import Iterator

from pipeline.evaluate.answers import AFTER, BEFORE
from pipeline.evaluate.identity import LESS_IS_BETTER, learned
from pipeline.evaluate.power import ALPHA, POWER, prompts_needed, smallest_rate
from pipeline.passport.estimate import FEW, in_words
from pipeline.settings import Anything

_SMALL = 0.55
"""The win rate that is named as an example of a small gain."""

_CHANCE = 0.05
"""A p below this is called more than chance."""

_NOT_COMPARED = ("No judge was given (evaluate.judge), so no answers were compared and there is no win rate: the identity decides.",)


def in_sentences(found: Anything) -> list[str]:
    """The headline, then a sentence on each thing that matters."""
    reasons = [f"{reason[0].upper()}{reason[1:]}." for reason in found["decision"]["reasons"]]
    return [headline(found), *reasons, *(_on_comparison(c) if (c := found["comparison"]) else _NOT_COMPARED), *_on_rest(found)]


def headline(found: Anything) -> str:
    """The one sentence that stands above an evaluation."""
    word, name = {"promote": "Promote", "reject": "Reject"}[found["decision"]["verdict"]], found["name"]
    if found["comparison"] is None:
        before, after = learned(found["identity"])
        if before["value"] is None or after["value"] is None:
            return f"{word} {name}: nothing was asked of who it is."
        shares = f"{after['value']:.1%} of held-out phrasings, before training in {before['value']:.1%}"
        return f"{word} {name}: it is right about itself in {shares}."
    rate = found["comparison"]["win_rate"]
    if rate["value"] is None:
        return f"{word} {name}: nothing valid was said of its answers."
    return f"{word} {name}: against the model before training it wins {in_words(rate)} of the comparisons, ties counting half."


def _on_comparison(c: Anything) -> Iterator[str]:
    o = c["outcomes"]
    yield (
        f"Of {c['comparisons']} comparisons on {c['prompts']} prompts, {o['win']} went to the model after training, {o['loss']} to the one "
        f"before, {o['tie']} were ties, {o['identical']} were the same text twice (ties, not judged), {o['contradictory']} changed with "
        f"the order (ties), and {o['invalid']} have no valid verdict (left out)."
    )
    yield _on_power(c)
    yield from _on_length(c)
    for judge in c["judges"]:
        if judge["flip"]["n"]:
            yield f"Shown the other way round, {judge['name']} took the other side in {in_words(judge['flip'])}."
    for side, cut in c["cut_off"].items():
        if cut:
            yield f"{cut} answers of the model {side} training were cut off at max_tokens; a judge may hold that against them."


def _on_power(c: Anything) -> str:
    rate, prompts = c["win_rate"], c["prompts"]
    least = smallest_rate(prompts)
    reach = f"a win rate of {least:.1%} or more" if least is not None else "not even a win rate of 100%"
    said = (
        f"{prompts} prompts can tell {reach} from 50% (two-sided alpha {ALPHA:g}, power {POWER:g}); {_SMALL:.0%} against 50% takes "
        f"{prompts_needed(_SMALL):,} prompts"
    )
    open_ = rate["value"] is not None and rate["low"] <= 0.5 <= rate["high"] and abs(rate["value"] - 0.5) >= 0.005
    return said + (f", and the {rate['value']:.1%} found here {prompts_needed(rate['value']):,}." if open_ else ".")


def _on_length(c: Anything) -> Iterator[str]:
    raw, equal, longer = c["win_rate"], c["controlled"], c["longer_chosen"]
    before, after = c["characters"][BEFORE], c["characters"][AFTER]
    if before and after:
        yield f"Its answers have {after:.0f} characters on average; before training they had {before:.0f}."
    if equal["value"] is not None:
        turned = raw["low"] > 0.5 >= equal["low"] if equal["low"] is not None else False
        yield f"At equal length the win rate is {in_words(equal)}" + ("; the gain may be length alone." if turned else ".")
    elif longer["n"]:
        yield (
            f"The longer answer won {in_words(longer)} of the decided comparisons; what the win rate would be at equal length cannot be "
            "told (too few comparisons, or one side wins nearly all)."
        )


def _on_rest(found: Anything) -> Iterator[str]:
    if skills := found["skills"]:
        yield _on_skills(skills)
        for name, one in skills["categories"].items():
            if one["lost"] > one["gained"] and one["p"] < _CHANCE:
                yield f"In {name} more was lost than chance would: {one['lost']} tasks lost, {one['gained']} gained (p {one['p']:.2g})."
    elif not any(m["name"] == "skills" and m[AFTER]["n"] for m in (found["identity"] or {"metrics": ()})["metrics"]):
        yield "What the model could do before was not measured (evaluate.skills is empty), so nothing says what it lost."
    if identity := found["identity"]:
        yield from identity["sentences"]
        if missing := max(identity["unanswered"].values()):
            yield f"{missing} questions of the identity were not answered; they count as wrong."
    held = found["held_out"]
    if "accuracy" in held:
        yield (
            f"On held-out pairs it holds the chosen answer above the rejected one in {held['accuracy']:.1%} (as the trainer measured at "
            f"step {held['step']}); that says little by itself: a model can rank well and write badly."
        )
    asked = found["prompts"]
    if asked["trained_on"]:
        yield f"Left out, since it was trained on: {asked['trained_on']} of the tables' prompts."


def _on_skills(skills: Anything) -> str:
    more = "more than chance would" if skills["p"] < _CHANCE else "which chance may well do"
    few = f"; {skills['tasks']} tasks are too few to tell" if skills["tasks"] < FEW else ""
    return (
        f"Of {skills['tasks']} tasks {in_words(skills[BEFORE])} were right before and {in_words(skills[AFTER])} after: "
        f"{skills['gained']} gained, {skills['lost']} lost (McNemar's p {skills['p']:.2g}, {more}){few}."
    )


def table_of(found: Anything) -> list[Anything]:
    """Before and after, a row a metric: name, the figure before, the figure after, and a note. None where there is no such figure."""
    c, skills, held = found["comparison"], found["skills"], found["held_out"]
    rows = []
    if c:
        rows.append(_row("win rate (0.5 is as good as before)", None, c["win_rate"], "ties count half"))
        rows.append(_row("win rate at equal length", None, c["controlled"], ""))
    if skills:
        note = f"{skills['gained']} gained, {skills['lost']} lost, p {skills['p']:.2g}"
        rows.append(_row("skills, share right", skills[BEFORE], skills[AFTER], note))
        rows += [
            _row(f"skills: {n}", s[BEFORE], s[AFTER], f"{s['gained']} gained, {s['lost']} lost") for n, s in skills["categories"].items()
        ]
    for m in found["identity"]["metrics"] if found["identity"] else ():
        rows.append(_row(f"identity: {m['words']}", m[BEFORE], m[AFTER], "less is better" if m["name"] in LESS_IS_BETTER else ""))
    for name, words in (("accuracy", "chosen above rejected, held-out pairs"), ("margin", "reward margin, held-out pairs")):
        if name in held:
            rows.append(_row(words, None, {"value": held[name], "low": None, "high": None, "n": None}, f"trainer, step {held['step']}"))
    return rows


def _row(name: str, before: Anything | None, after: Anything | None, note: str) -> Anything:
    return {"name": name, BEFORE: before, AFTER: after, "note": note}


def markdown(found: Anything) -> str:
    """A section for the model card."""
    lines = [f"## Before and after: {found['decision']['verdict']}", "", found["sentences"][0], ""]
    lines += ["| metric | before | after | rows | |", "|---|---|---|---|---|"]
    for row in table_of(found):
        lines.append(f"| {row['name']} | {cell_of(row[BEFORE])} | {cell_of(row[AFTER])} | {rows_of(row)} | {row['note']} |")
    return "\n".join([*lines, "", *(f"- {sentence}" for sentence in found["sentences"][1:]), ""])


def cell_of(e: Anything | None) -> str:
    """A figure of the table."""
    if e is None or e["value"] is None:
        return "–"
    return f"{e['value']:.1%} ({e['low']:.1%} to {e['high']:.1%})" if e["low"] is not None else f"{e['value']:.3f}"


def rows_of(row: Anything) -> str:
    """What a row of the table rests on."""
    n = max((e["n"] or 0 for e in (row[BEFORE], row[AFTER]) if e is not None), default=0)
    return f"{n:,}" if n else ""
