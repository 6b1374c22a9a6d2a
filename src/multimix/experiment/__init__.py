"""Grids of runs: what is planned, how it is run, what was published, and a small one to try."""
