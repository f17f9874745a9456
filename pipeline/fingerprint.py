"""What identifies a model that lies in a local folder: its files' contents, whatever the folder is called or how old it is."""

import hashlib
from pathlib import Path

from pipeline.errors import EngineError

_KINDS = frozenset({".safetensors", ".json", ".jinja", ".model", ".tiktoken", ".txt"})
"""Weights, configurations, chat templates and the tokenizers' own files; a README may change without changing a reply."""


def folder_fingerprint(path: Path) -> str:
    """SHA-256, in hex, over the names and contents of a model's or adapter's weights, configuration and tokenizer files.

    Files in subfolders (checkpoints) do not count. Reads every byte: seconds for gigabytes, so keep the result.
    Raises EngineError where the folder holds no weights as safetensors, or cannot be read.
    """
    try:
        files = sorted(f for f in path.iterdir() if f.suffix in _KINDS and f.is_file())
        whole = hashlib.sha256()
        for file in files:
            with file.open("rb") as content:
                whole.update(f"{file.name}\0{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    except OSError as error:
        raise EngineError(f"cannot read the model folder {path}: {error.strerror or error}; mend its path or its permissions") from error
    if not any(f.suffix == ".safetensors" for f in files):
        raise EngineError(f"{path} holds no *.safetensors, wanted a model's or an adapter's folder; save its weights as safetensors there")
    return whole.hexdigest()
