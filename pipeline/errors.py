"""What can go wrong, named by the boundary that was crossed.

    PairsmithError            exit code 2: the user must change something; one sentence, no traceback
    ├── RecipeError           what the user wrote in a recipe or on the command line
    ├── InputError            a table, file or prompt that came in from outside
    ├── EngineError           a model's engine that cannot be used at all: wrong URL, key, model name
    ├── BackendAway           the place where people label does not answer; nothing is lost, later goes on
    ├── BudgetSpent           the budget of the recipe is used up; what arrived is kept
    ├── RunError              the run folder: taken, incompatible, full, read-only
    ├── TrainingStopped       a training that goes wrong: a NaN, a collapse; what was trained is not worth keeping
    ├── Interrupted           exit code 130: stopped by the user, to be resumed by the same command
    └── GateRefused           exit code 3: the work is done, and a gate said no
    RequestFailed             one request that got no usable reply: data, not a crash

Every message says what was found, what was wanted, and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PairsmithError(Exception):
    """Something the user can mend; its text is the one sentence they see."""

    exit_code = 2


class RecipeError(PairsmithError):
    """The recipe or the command line asks for something that does not exist."""


class InputError(PairsmithError):
    """A table from outside is not what the recipe says it is."""


class EngineError(PairsmithError):
    """No request to this engine can succeed until the user changes something."""


class BackendAway(PairsmithError):
    """The backend where people label cannot be reached now."""


class BudgetSpent(PairsmithError):
    """The budget of the recipe is used up."""


class RunError(PairsmithError):
    """The run folder cannot be used."""


class TrainingStopped(PairsmithError):
    """A training went wrong, and going on would waste time."""


class Interrupted(PairsmithError):
    """The user stopped the run; it can be resumed."""

    exit_code = 130


class GateRefused(PairsmithError):
    """The run finished, and a gate refused its result."""

    exit_code = 3


TRANSIENT = frozenset({"timeout", "connection", "rate_limited", "server_error", "broken_reply"})
"""Reasons for which asking again later may help: a stage with such failures is redone by the next run. A permanent
failure, such as a prompt longer than the context, is not."""


class RequestFailed(Exception):
    """One request got no usable reply. `reason` is the name under which it is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    @property
    def transient(self) -> bool:
        return self.reason in TRANSIENT


def choose_from(found: str, known: Iterable[str]) -> str:
    """The end of an error sentence that offers the known names, the nearest first: "did you mean 'margin'? Known: …"."""
    names = sorted(known)
    nearest = get_close_matches(found, names, n=1, cutoff=0.5)
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return f"{hint}Known: {', '.join(names) or 'none'}"
