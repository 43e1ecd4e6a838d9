"""Benchmarks: `python -m benchmarks.cpu` compares ops, models and training steps with PyTorch, `benchmarks.cuda` kernels of a GPU with its
limits; docs/benchmarks.md says how to read them."""
