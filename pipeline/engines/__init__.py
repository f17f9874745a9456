"""The engines. What one is stands in pipeline/engine.py; one file is one plug-in."""
