"""Benchmarks: `python -m benchmarks.cpu` compares ops, models and training steps with PyTorch; docs/benchmarks.md says how to read it."""
