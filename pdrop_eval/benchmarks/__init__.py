"""Benchmarks: their registry, task files, judge, data and scoring."""
