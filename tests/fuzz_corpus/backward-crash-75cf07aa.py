"""crash in backward, found by minigrad.testing.fuzz (seed 0, case 0).

A view made before its base was asked for a gradient has no history of its own.
"""

import numpy as np

inf, nan = float("inf"), float("nan")
OP, TAINTED = 'backward', False


def program(m, step):
    a = step('make', lambda: m.from_numpy(np.resize(np.array([1.0], 'float32'), ())).clone())
    b = step('unsqueeze', lambda: a.unsqueeze(0))
    c = step('requires_grad_', lambda: a.requires_grad_())
    d = step('backward', lambda: b.backward())
    e = step('mul', lambda: m.mul(b, 2))
    f = step('backward', lambda: e.backward())


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
