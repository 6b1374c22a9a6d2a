"""The report of a benchmark: everything in it is computed from the stored per-image tables."""
