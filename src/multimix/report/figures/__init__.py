"""Figures of a benchmark: each function takes per-image tables or scores and gives one panel."""
