"""Annotate: what is worth a person goes out to people, and their verdicts come back."""
