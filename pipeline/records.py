"""The nouns: what is asked, answered, compared, judged and paired. Frozen values, no behaviour but their identity.

    Prompt -> Answer -> Comparison -> Verdict -> Pair        and Feedback, which people leave on answers they were shown

A judge, a rule and a person produce the same Verdict; everything downstream is blind to who judged.
Ids are hashes of content, so the same prompt has the same id in every run, table and language of the world.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NotRequired, TypedDict, cast

import orjson


class Message(TypedDict):
    """One turn of a conversation, as every chat API has it."""

    role: Literal["system", "user", "assistant"]
    content: str


Choice = Literal["A", "B", "tie", "invalid"]
"""Which stored side is better. `invalid`: no evidence (no reply, an unreadable reply); never the same as a tie."""

Order = Literal["AB", "BA"]
"""Which stored side was shown first."""

Source = Literal["llm", "human", "rule"]
"""Who judged."""

Split = Literal["train", "test"]

Meeting = Literal["strong_weak", "all"]
"""Who meets whom before a judge: every strong answer every weak one, or everybody everybody."""


def content_id(*parts: object) -> str:
    """80 bits of SHA-256 over the parts as canonical JSON, in hex: one collision to expect in 10^12 rows."""
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the models are asked.

    `messages` end with a user's turn and may start with a system turn. `key` is the id the user gave the row, if any.
    `plain` remembers that the prompt came as a text and not as a list of messages.
    """

    id: str
    messages: tuple[Message, ...]
    plain: bool = True
    split: Split = "train"
    key: str | None = None
    category: str | None = None
    reference: str | None = None
    language: str | None = None
    metadata: str = "{}"
    """Columns that are not ours, as a JSON object."""

    @property
    def question(self) -> str:
        return question_of(self.messages)


def question_of(messages: Sequence[Message]) -> str:
    """What a judge is shown of a prompt: the text of a single turn, or the conversation with its roles named."""
    turns = [m for m in messages if m["role"] != "system"]
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in turns)


def prompt_id(messages: Sequence[Message]) -> str:
    """The id of a prompt: a hash of its messages, the system turn included."""
    return content_id([[m["role"], m["content"]] for m in messages])


def prompt_cluster(messages: Sequence[Message]) -> str:
    """What near-copies of a prompt have in common: its user turns without case, width variants, punctuation, space.

    The system turn is left out: the same question under two system prompts must not stand in train and test at once.
    """
    text = "\n".join(m["content"] for m in messages if m["role"] == "user")
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = re.sub(r"[\W_]+", " ", folded).strip()
    return content_id(words or folded)


def split_of(cluster: str, test_share: float) -> Split:
    """Train or test, by the cluster alone: a prompt never changes sides, whatever else is in the table."""
    return "test" if int(cluster[:12], 16) / 16**12 < test_share else "train"


@dataclass(frozen=True, slots=True)
class Answer:
    """One completion of one prompt by one model of the recipe (`model` is its name there)."""

    id: str
    prompt_id: str
    model: str
    sample: int
    text: str
    finish_reason: str = "stop"
    source: Literal["model", "human"] = "model"
    score: float | None = None
    recorded_id: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to the same prompt that meet: the stored sides a and b."""

    id: str
    prompt_id: str
    a: str
    b: str

    @staticmethod
    def of(prompt: str, a: str, b: str) -> "Comparison":
        return Comparison(content_id(prompt, a, b), prompt, a, b)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one judge said of one comparison in one order. `choice` is about the stored sides, not about what was shown first."""

    comparison_id: str
    prompt_id: str
    judge: str
    order: Order | None
    """None where the judge saw no order: it scored each answer by itself, or saw every order equally often."""
    choice: Choice
    source: Source
    score_a: float | None = None
    score_b: float | None = None
    reason: str | None = None
    """Why a verdict is invalid; None for the others."""
    reply: str | None = None
    """What the judge wrote, word for word."""
    prompt_sha: str | None = None
    """The sha256 of the prompt file that the judge was asked with."""
    prompt_tokens: float | None = None
    """Of what was asked for this verdict, replies from the cache included; a reply that serves several is shared among them."""
    completion_tokens: float | None = None
    """Of what came back."""
    dollars: float | None = None
    """By the model's `price`; None where it has none."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference: to this prompt, `chosen` was judged better than `rejected`. The texts of one row always differ."""

    prompt_id: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    chosen_model: str
    rejected_model: str
    source: str
    score_chosen: float | None = None
    score_rejected: float | None = None
    margin: float | None = None
    category: str | None = None
    split: Split = "train"
    plain: bool = True
    finish_chosen: str = "stop"
    finish_rejected: str = "stop"


@dataclass(frozen=True, slots=True)
class Feedback:
    """A thumb that a user left on a response they were shown."""

    prompt: tuple[Message, ...]
    response: str
    liked: bool
    event_id: str
    time: str | None = None
    user: str | None = None
    model: str | None = None
    conversation: str | None = None
    comment: str | None = None
    edited: str | None = None


class Sampling(TypedDict, total=False):
    """What a request asks of the sampler; absent fields are left to the engine."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop: list[str]
    extra: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model. `prompt` is set when the question is a row of the prompt table (not a judge's)."""

    messages: tuple[Message, ...]
    sampling: Sampling
    sample: int = 0
    schema: Mapping[str, Any] | None = None
    prompt: Prompt | None = None
    logprobs: int = 0
    """How many of the likeliest tokens to report at each token of the reply; 0 for none."""


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A token of a reply, and the likeliest tokens at its place with their log probabilities, the likeliest first.

    They are the model's own, before a temperature, as far as its engine can tell.
    """

    token: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. Token counts are the engine's own, 0 where it gives none."""

    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    source: Literal["model", "human"] = "model"
    score: float | None = None
    recorded_id: str | None = None
    logprobs: tuple[TokenChoice, ...] | None = None
    """One for each token; None where they were not asked for, or the engine has none."""

    def to_json(self) -> bytes:
        # Without the field where it is empty: a version that does not know it reads all other replies.
        return orjson.dumps({f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None or f.name != "logprobs"})

    @staticmethod
    def from_json(raw: bytes) -> "Reply":
        body = cast(dict[str, Any], orjson.loads(raw))
        if (tokens := body.get("logprobs")) is not None:
            body["logprobs"] = tuple(TokenChoice(t["token"], tuple((word, p) for word, p in t["top"])) for t in tokens)
        return Reply(**body)
