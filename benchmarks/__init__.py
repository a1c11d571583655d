"""Measurements against peers, run by `make bench`. Ratios of one run are what counts: machines are shared and noisy."""
