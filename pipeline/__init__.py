"""Prompts in, pairs out. This package knows nothing of Prefect and nothing of training."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository: recipes, prompt files and data are found from here."""

try:
    __version__ = version("pairsmith")
except PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "0.0.0"
