"""The text that the demo models learn, how they learn it, and how they are measured. `train/demo_models.py` runs it."""
