"""python -m benchmarks.inference [--threads 1 2] [--only TEXT...] [--csv FILE]

Models without gradients, at batch 1 and 16: compiled by us, with and without weights that are prepared once (docs/compiler.md), our eager
code and PyTorch's, all in one process and in the same rounds (compare.times), after their results were compared. Times are medians; ratios
are median and quartiles of the rounds' ratios to the compiled time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import compare, models, report

BATCHES = (1, 16)
FIELDS = ["date", "cpu", "commit", "threads", "name", "compiled_s", "unprepared_s", "ratio_unprepared", "ratio_unprepared_q1",
          "ratio_unprepared_q3", "eager_s", "ratio_eager", "ratio_eager_q1", "ratio_eager_q3", "torch_s", "ratio_torch", "ratio_torch_q1",
          "ratio_torch_q3", "rounds", "weight_bytes", "prepared_bytes"]  # fmt: skip


def _mlp(torch: Any, batch: int, tiny: bool) -> tuple[Any, tuple]:
    """784-512-512-10."""
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    return model, (models.numbers(torch, (batch, 784)),)


def _resnet18_224(torch: Any, batch: int, tiny: bool) -> tuple[Any, tuple]:
    side = 64 if tiny else 224
    return models._resnet18(torch, 1000, False, 8 if tiny else 64), (models.numbers(torch, (batch, 3, side, side)),)


def _resnet18_32(torch: Any, batch: int, tiny: bool) -> tuple[Any, tuple]:
    return models._resnet18(torch, 10, True, 8 if tiny else 64), (models.numbers(torch, (batch, 3, 32, 32)),)


def _gpt_token(torch: Any, batch: int, tiny: bool) -> tuple[Any, tuple]:
    """One token after 64 others: 6 layers, 6 heads, width 384, vocabulary 4096."""
    vocabulary, context, layers, heads, width = (11, 128, 1, 2, 16) if tiny else (4096, 128, 6, 6, 384)
    model = models._gpt(torch, vocabulary, context, layers, heads, width)
    shape = (batch, heads, 64, width // heads)
    past = [tuple(models.numbers(torch, shape, 10 * layer + part) for part in range(2)) for layer in range(layers)]
    return model, (models.numbers(torch, (batch, 1), 0, vocabulary), past)


MODELS: dict[str, Callable[..., tuple[Any, tuple]]] = {
    "mlp": _mlp, "resnet18_224": _resnet18_224, "resnet18_32": _resnet18_32, "gpt_token": _gpt_token
}  # fmt: skip
CASES = [(name, batch) for name in MODELS for batch in BATCHES]


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def measure(args: argparse.Namespace, threads: int, name: str, batch: int) -> dict[str, Any]:
    """One row."""
    import minigrad as mg

    mg.set_num_threads(threads)
    model, given = MODELS[name](mg, batch, args.tiny)
    model.eval()
    options = {"minigrad": {"prepack": True}, "unprepared": {"prepack": False}}
    functions = {kind: mg.compile(lambda *a: _first(model(*a)), options=options[kind]) for kind in options}
    calls = {kind: (lambda f=f: f(*given)) for kind, f in functions.items()} | {"eager": lambda: _first(model(*given))}
    if "torch" in args.against:
        import torch

        torch.set_num_threads(threads)
        theirs, inputs = MODELS[name](torch, batch, args.tiny)
        compare.copy_weights(model, theirs.eval(), torch)
        calls["torch"] = lambda: _first(theirs(*inputs))
    with mg.no_grad():
        mg.use_deterministic_algorithms(True)  # the plan, whatever a trial of speed says
        try:
            for call in calls.values():
                result = [call() for _ in range(3)][-1]
                compare.expect_close(name, calls["eager"](), result, 1e-4)
            with torch.no_grad() if "torch" in calls else mg.no_grad():
                times = compare.times(calls, args.rounds, args.seconds)
        finally:
            mg.use_deterministic_algorithms(False)
    row = {"threads": threads, "name": f"{name}, batch {batch}", "rounds": len(times.seconds["minigrad"]),
           "weight_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
           "prepared_bytes": functions["minigrad"].entries[0].plan.prepared_bytes}  # fmt: skip
    for kind in calls:
        row["compiled_s" if kind == "minigrad" else f"{kind}_s"] = times.median(kind)
        if kind != "minigrad":
            row[f"ratio_{kind}_q1"], row[f"ratio_{kind}"], row[f"ratio_{kind}_q3"] = times.ratio(kind)
    return row


def print_row(row: dict[str, Any]) -> None:
    """One line of the table."""
    line = f"{row['threads']} threads  {row['name']:24} compiled {report.duration(row['compiled_s']):>10}"
    for kind in ("unprepared", "eager", "torch"):
        if f"{kind}_s" in row:
            ratio = f"{row[f'ratio_{kind}']:.2f}x ({row[f'ratio_{kind}_q1']:.2f}-{row[f'ratio_{kind}_q3']:.2f})"
            line += f"   {kind} {report.duration(row[f'{kind}_s']):>9} {ratio}"
    print(f"{line}   weights {row['weight_bytes'] / 2**20:.1f} MiB, prepared {row['prepared_bytes'] / 2**20:.1f}", flush=True)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cases whose name contains one of these")
    parser.add_argument("--against", nargs="*", choices=("torch",), default=["torch"])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=3.0, help="stop the rounds of a case after about this long (at least 3 rounds)")
    parser.add_argument("--csv", help="append the rows to this file")
    parser.add_argument("--tiny", action="store_true", help="everything shrunk to almost nothing: for tests")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    """Run, print and write what the command line asks for; returns the rows."""
    args, rows = arguments(argv), []
    for threads in args.threads:
        for name, batch in CASES:
            if not args.only or any(text in f"{name}, batch {batch}" for text in args.only):
                rows.append(measure(args, threads, name, batch))
                print_row(rows[-1])
    if args.csv:
        report.write_csv(args.csv, rows, FIELDS)
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
