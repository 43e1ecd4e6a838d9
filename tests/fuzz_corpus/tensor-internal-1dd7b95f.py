"""internal in tensor, found by minigrad.testing.fuzz (seed 0, case 0).

tensor() of a dict recursed without end.
"""


inf, nan = float("inf"), float("nan")
OP, TAINTED = 'tensor', False


def program(m, step):
    a = step('tensor', lambda: m.tensor({}))
    b = step('tensor', lambda: m.tensor([{}]))


if __name__ == "__main__":
    from minigrad.testing.fuzz.corpus import replay

    print(replay(__file__) or "passes")
