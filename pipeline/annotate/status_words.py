"""What the figures of a status mean, in sentences."""

from collections.abc import Iterator

from pipeline.passport.estimate import in_words
from pipeline.settings import Anything


def words(figures: Anything) -> list[str]:
    """A sentence for each thing that somebody who organises annotators wants to know."""
    return [*_progress(figures), *_people(figures), *_on_annotators(figures), *_judge(figures)]


def _progress(figures: Anything) -> Iterator[str]:
    for d in figures["datasets"]:
        waiting = d["chosen"] - d["tasks"]
        later = f"; {waiting} chosen and not sent yet" if waiting > 0 else ""
        yield f"{d['name']}: {d['completed']} of {d['tasks']} tasks are complete{later}."
        for name, counts in d["annotators"].items():
            yield f"  {name}: {', '.join(f'{n} {status}' for status, n in counts.items())}."
    if not figures["datasets"]:
        yield "Nothing was sent to people yet: `pairsmith annotate push RUN` does it."
    r, outcomes = figures["responses"], figures["outcomes"]
    if r["submitted"]:
        said = ", ".join(f"{result} {n}" for result, n in outcomes.items()) or "nothing yet"
        yield f"{r['submitted']} responses are here, {r['discarded']} discarded; people decided: {said}."
    for name, what in (("unreadable", "do not fit their form"), ("stale", "are about texts that the run no longer holds"),
                       ("unknown", "are to tasks that this run did not send")):  # fmt: skip
        if r[name]:
            yield f"{r[name]} responses {what}, and are not used."


def _people(figures: Anything) -> Iterator[str]:
    people = figures["people"]
    if people and people["alpha"]["n"]:
        yield f"People among each other: Krippendorff's alpha {_number(people['alpha'])}."
    anchoring = figures["anchoring"]
    if anchoring and anchoring["difference"]["value"] is not None:
        d = anchoring["difference"]
        sure = ": the suggestions sway them" if d["low"] > 0 else ""
        yield (
            f"With the judge's choice as a suggestion people go with it in {in_words(anchoring['suggested'], 0)}, "
            f"without in {in_words(anchoring['control'], 0)}{sure}."
        )


def _on_annotators(figures: Anything) -> Iterator[str]:
    for a in figures["annotators"]:
        name, others = a["name"], a["with_the_others"]
        if others:
            yield f"{name} says what most of the others say in {in_words(others['raw'], 0)} (kappa {_number(others['kappa'])})."
        if a["disagrees_with_everybody"]:
            yield f"{name} disagrees with everybody: kappa with the others is below 0.2 for all that can be told; speak with {name}."
        if a["leans_to_a_side"]:
            yield f"{name} chooses the answer that stands first in {in_words(a['first_shown'], 0)}."
        if a["faster_than_reading"]["value"]:
            yield f"{name} was faster than anybody reads (15 words a second) in {in_words(a['faster_than_reading'], 0)}."


def _judge(figures: Anything) -> Iterator[str]:
    for of, what in (("random", "drawn by chance"), ("all", "of any kind, the doubtful ones first")):
        for judge in figures["judge"][of]:
            if judge["raw"]["n"]:
                yield f"{judge['name']} agrees with people on {in_words(judge['raw'], 0)} of the comparisons {what}."
    needed = figures["needed"]
    if needed and needed["more"]:
        yield (
            f"{needed['more']} more comparisons drawn by chance ({needed['responses']} responses) bring the judge's agreement to within "
            f"{needed['half_width'] * 100:.0f} points to either side, at {needed['at']:.0%}."
        )
    elif needed:
        yield f"The judge's agreement is known to within {needed['half_width'] * 100:.0f} points to either side."


def _number(e: Anything) -> str:
    if e["value"] is None:
        return "cannot be told"
    open_ = e["low"] is None or e["high"] is None
    return f"{e['value']:.2f} at n={e['n']}" if open_ else f"{e['value']:.2f} ({e['low']:.2f} to {e['high']:.2f}, n={e['n']})"
