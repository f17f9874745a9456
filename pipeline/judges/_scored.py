"""A verdict from two scores, for judges that look at each answer by itself or at all answers at once."""

from pipeline.records import Choice, Comparison, Verdict


def verdict_on(
    comparison: Comparison,
    judge: str,
    score_a: float | None,
    score_b: float | None,
    *,
    tie_within: float = 0.0,
    reason: str | None = None,
    reply: str | None = None,
    prompt_sha: str | None = None,
) -> Verdict:
    """The higher score wins, and equal ones tie; `invalid` for `reason` where one is missing: half of the evidence is none."""
    choice: Choice = "invalid"
    if score_a is None or score_b is None:
        score_a = score_b = None
    else:
        # A mean of floats is not exact: 0.1 apart must be within 0.1.
        tie = abs(score_a - score_b) <= tie_within + 1e-9
        choice, reason = "tie" if tie else "A" if score_a > score_b else "B", None
    return Verdict(comparison.id, comparison.prompt_id, judge, None, choice, "llm", score_a, score_b, reason, reply, prompt_sha)
