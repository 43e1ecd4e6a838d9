"""crash in copy_, found by minigrad.testing.fuzz (seed 0, case 0).

A float that requires grad, copied into an integer view: the view got history, and backward crashed.
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'copy_', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1], 'int64'), (1, 7))).expand((1, 7)))
    b = step('make', lambda: m.from_numpy(np.resize(np.array([2.5], 'float32'), ())).clone().requires_grad_())
    c = step('copy_', lambda: a.copy_(b))
    d = step('select', lambda: a.select(-1, -2))
    e = step('backward', lambda: d.backward(m.ones_like(d)))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
