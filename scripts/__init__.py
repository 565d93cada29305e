"""Benchmarks, experiments and recipes, run as modules from the repository root."""
