"""Why rows are left out, in words. A gate of a user's own may use other names; they are shown as they are."""

WORDS = {
    "duplicate": "the same prompt stands there twice",
    "empty_prompt": "there is nothing to ask",
    "no_recorded_answer": "the table of answers has none for it",
    "timeout": "the model took too long; the next start asks again",
    "connection": "its server could not be reached; the next start asks again",
    "rate_limited": "its server had too much to do; the next start asks again",
    "server_error": "its server failed; the next start asks again",
    "broken_reply": "the reply was no chat completion; the next start asks again",
    "rejected": "the model's server refused the request",
    "context_length": "the prompt is longer than the model reads",
    "equal_texts": "both answers are the same text",
    "no_verdict": "nobody judged it",
    "too_few_answers": "fewer than two answers are left",
    "tie": "the judge found neither better",
    "flipped": "the judge changed its mind with the order",
    "tie_in_one_order": "the judge found one better in one order only",
    "one_order_only": "the judge saw one order only",
    "invalid": "there is no verdict that can be read",
    "judge_disagrees": "the judge preferred the other answer",
    "people_prefer_other": "people preferred the other answer",
    "people_disagree": "people were not of one mind",
    "both_bad": "people found neither answer good enough",
    "unchanged": "a person left the answer as it was",
    "answer_gone": "the answer that a person edited is there no longer",
    "unscored": "an answer has no score",
    "margin_too_small": "the scores lie too close together",
    "margin_too_large": "the scores lie too far apart",
    "chosen_below_floor": "even the better answer is not good enough",
    "empty_chosen": "the better answer is empty",
    "empty_rejected": "the worse answer is empty",
    "identical": "the answers differ in case, width or space alone",
    "similar": "the answers are nearly the same",
    "truncated_chosen": "the better answer was cut off",
    "truncated_rejected": "the worse answer was cut off",
    "too_short": "an answer is too short",
    "too_long": "an answer is too long",
    "lopsided": "one answer is much longer than the other",
    "longer": "too many pairs have the longer answer as the better one",
}


def in_words(reason: str) -> str:
    """What a reason's name means; nothing where it is not one of ours."""
    return WORDS.get(reason, "")
