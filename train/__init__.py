"""A pair table in, an adapter out. It knows nothing of Prefect."""
