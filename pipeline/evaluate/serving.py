"""Give a running vLLM server an adapter: whoever asks it under the adapter's name gets the new one from then on.

vLLM 0.32 exchanges the weights behind a name in one step (`load_inplace`); older versions unload the former one first.
"""

import os
from pathlib import Path

from pipeline.errors import EngineError, RecipeError

KEY = "VLLM_API_KEY"
"""The environment variable with the server's key, if it has one: the same that vLLM itself reads."""

_SECONDS = 300.0


def serve_adapter(url: str, name: str, adapter: Path) -> None:
    """Load an adapter under a name. EngineError with one sentence where the server refuses; then it serves what it served before,
    unless it is too old to exchange an adapter in one step."""
    status, said = _post(url, "load_lora_adapter", {"lora_name": name, "lora_path": str(adapter), "load_inplace": True})
    if status == 400 and "already been loaded" in said:
        _post(url, "unload_lora_adapter", {"lora_name": name})
        status, said = _post(url, "load_lora_adapter", {"lora_name": name, "lora_path": str(adapter)})
    if status != 200:
        raise EngineError(_refused(url, name, adapter, status, said))


def _post(url: str, what: str, body: dict[str, object]) -> tuple[int, str]:
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(KEY)) else {}
    try:
        answer = httpx.post(f"{_root(url)}/v1/{what}", json=body, headers=headers, timeout=_SECONDS)
    except httpx.InvalidURL as error:
        raise RecipeError(f"--server {url}: {error}; wanted the URL of a vLLM server, such as http://127.0.0.1:8000") from error
    except httpx.UnsupportedProtocol as error:
        raise RecipeError(f"--server {url} is no URL; wanted one such as http://127.0.0.1:8000") from error
    except httpx.HTTPError as error:
        raise EngineError(f"no vLLM server answers at {url} ({error}); start it, or promote without --server") from error
    return answer.status_code, " ".join(answer.text.split())


def _root(url: str) -> str:
    return url.rstrip("/").removesuffix("/v1")


def _refused(url: str, name: str, adapter: Path, status: int, said: str) -> str:
    if status in (401, 403):
        return f"the server at {url} wants another key (HTTP {status}); export {KEY}=…"
    if status in (404, 405) and "adapter" not in said.lower():
        return (
            f"the server at {url} takes no adapters while it runs (HTTP {status}); start vLLM with --enable-lora and "
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment"
        )
    if "No adapter found" in said:
        return f"the server at {url} finds no adapter at {adapter}; it must see that folder under the same path"
    return (
        f"the server at {url} refused the adapter as '{name}' (HTTP {status}: {said[:200]}); does it serve the adapter's base model, with "
        "--enable-lora and a --max-lora-rank that is high enough?"
    )
