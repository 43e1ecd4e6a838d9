"""Benchmarks on a GPU: `python -m benchmarks.cuda`; __main__.py has the options, docs/benchmarks.md says how to read it."""
