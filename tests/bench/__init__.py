"""Measurements, each a command: `python -m tests.bench.NAME [--small]` prints progress on stderr and one JSON object at the end.

overhead   what the build flow costs beside the server's own latency, and beside distilabel
resume     what is asked again after a repeat, an added prompt and twenty kills
local      pairs of a million prompts that were answered and scored elsewhere
cli        how soon `pairsmith --help` answers
"""
