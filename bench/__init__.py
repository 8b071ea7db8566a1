"""Benchmarks: each runs what it measures side by side with a baseline, and prints ratios."""
