"""The kernel lab: `python -m minigrad.kernels.lab NAME` shows what a kernel does and what it is compiled to (__main__.py)."""
