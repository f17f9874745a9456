"""What an engine is: something that replies to a request. The plug-ins are in pipeline/engines.

A plug-in file defines `Settings` (a subclass of ModelSettings) and `Engine`, built from them. An engine asks and retries;
it knows nothing of the cache, the budget or the run. It raises

    EngineError     when no request can succeed until the user changes something (wrong URL, key or model name)
    RequestFailed   when this request got no usable reply, after the retries the engine thinks right
"""

from typing import Any, Protocol

from pipeline.records import Reply, Request


class Engine(Protocol):
    """All methods run in one event loop; `reply` is called concurrently."""

    paid: bool
    """Whether replies cost something, so that they are kept in the cache."""
    structured: bool
    """Whether a JSON schema in a request is honoured."""
    logprobs: bool
    """Whether log probabilities are given where a request asks for them; False for an engine that does not say."""
    resident: bool
    """Whether it holds the model in this machine's memory while it is up, as an API elsewhere does not."""
    memory: object
    """What is the same for the models that one start brings up, as a base model and its adapters are; missing where each is alone."""
    concurrency: int
    """How many replies are waited for at once."""

    def __init__(self, name: str, settings: Any) -> None: ...

    def revision(self) -> str | None:
        """What identifies the model's weights beyond its name; a fingerprint for a local folder."""

    async def start(self) -> None:
        """Make sure that replies can come: called before the first request, and before the first after a `close`."""

    async def reply(self, request: Request) -> Reply: ...

    async def close(self) -> None: ...
