"""A fuzzer for the whole library: random programs of op calls, run on minigrad and on an oracle, differences reported.

    python -m minigrad.testing.fuzz --minutes 10

How it is put together (each file reads alone):

- program.py   a program is a list of `Make` and `Call` steps; it renders to plain Python source, and that source is what runs.
- values.py    numbers that break things: extremes of every dtype, absurd ints, arguments of the wrong kind.
- generate.py  programs around one op of the registry, mutated from the op's own samples.
- sequences.py programs of several calls: views, in-place writes, indexing, backward, `out=` with aliasing.
- execute.py   runs a program against a module (minigrad, torch) and records the outcome of each step.
- oracle.py    compares two records: error or not, shape, dtype, values; knows the accepted differences, with reasons.
- reference.py the NumPy oracle, for programs of one plain call.
- accepted.py  differences from PyTorch that are meant, each with its reason.
- worker.py    forked processes that run cases; a crash, a hang or a sanitizer's line is traced to its case.
- shrink.py    makes a finding small.
- corpus.py    writes findings as scripts (tests/fuzz_corpus) and replays them.
"""
