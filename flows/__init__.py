"""Order, retries and schedules; no decisions. What is decided is decided in `pipeline`."""
