"""Command line of the fuzzer.

python -m minigrad.testing.fuzz --minutes 10 --jobs 2
python -m minigrad.testing.fuzz --minutes 1 --ops cumsum,sort
python -m minigrad.testing.fuzz --replay tests/fuzz_corpus
python -m minigrad.testing.fuzz --seed 3 --cases 1200:1201 --show      # look at single cases
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import minigrad as mg
from minigrad.testing.fuzz import corpus
from minigrad.testing.fuzz.execute import compiled, run
from minigrad.testing.fuzz.generate import Generator
from minigrad.testing.fuzz.oracle import Finding, judge, torch_or_none
from minigrad.testing.fuzz.shrink import shrink
from minigrad.testing.fuzz.worker import SANITIZED, Worker, isolated, judge_isolated


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m minigrad.testing.fuzz", description="Random programs against an oracle.")
    p.add_argument("--minutes", type=float, default=1.0, help="how long to run (default 1)")
    p.add_argument("--seed", type=int, default=0, help="names the run: same seed, same cases (default 0)")
    p.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    p.add_argument("--ops", default="", help="comma-separated op names; default: all, and sequences of calls")
    p.add_argument("--corpus", type=Path, default=Path("tests/fuzz_corpus"), help="where findings are written")
    p.add_argument("--replay", type=Path, help="replay one script or a folder of them, and stop")
    p.add_argument("--cases", default="", help="A:B: run just these cases in this process, without forking")
    p.add_argument("--show", action="store_true", help="with --cases: print the programs")
    p.add_argument("--classes", action="store_true", help="also report errors whose class differs from PyTorch's")
    p.add_argument("--private", action="store_true", help="also ops that users cannot name")
    p.add_argument("--no-torch", action="store_true", help="judge by the laws only")
    p.add_argument("--no-write", action="store_true", help="report findings without writing scripts")
    return p


class Report:
    """Findings grouped by op and kind; the first of a group is shrunk and written."""

    def __init__(self, args: argparse.Namespace, generator: Generator, torch: Any) -> None:
        self.args, self.generator, self.torch = args, generator, torch
        self.groups: Counter[tuple[str, str]] = Counter()
        self.first: dict[tuple[str, str], tuple[str, str]] = {}

    def add(self, case: int, finding: Finding, first: int) -> None:
        """Count a finding; shrink and write it when its group is new. `first` is the process's first case."""
        if finding.kind == "class" and not self.args.classes:
            return
        program = self.generator.case(case)
        if finding.kind == "crash" and self.torch is not None:
            alone = self._crashes_without_torch(range(case, case + 1))
            if not alone and not self._crashes_without_torch(range(first, case + 1, self.args.jobs)):
                return  # PyTorch damaged the heap that both share
        self.groups[finding.group] += 1
        if self.groups[finding.group] > 1:
            return

        def same(p: Any) -> bool:
            f = judge_isolated(p, self.torch)
            return f is not None and (f.kind == finding.kind and (f.op in ("", finding.op)))

        if same(program):
            program = shrink(program, same)
            final = judge_isolated(program, self.torch)
            text = final.text if final is not None else finding.text
        else:
            text = finding.text + " (does not fail alone: an earlier case of the same process is to blame; rerun with --cases)"
        shown = Finding(finding.kind, finding.op, text)
        where = f"seed {self.args.seed} case {case}"
        if not self.args.no_write:
            where = str(corpus.write(self.args.corpus, program, shown, self.args.seed, case))
        self.first[finding.group] = (text, where)
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{clear}{finding.kind:10} {finding.op:24} {text[:240]}\n{'':10} {where}", flush=True)
        if self.args.no_write:
            print("           " + program.render().replace("\n", "\n           "), flush=True)

    def _crashes_without_torch(self, cases: range) -> bool:
        def work(mark: Any) -> None:
            mark("minigrad")
            for c in cases:
                run(compiled(self.generator.case(c).render()), mg)

        return isinstance(isolated(work, None, patience=600.0), Finding)

    def summary(self, cases: int, seconds: float) -> str:
        """Table by op."""
        lines = [f"{cases} cases in {seconds:.0f} s ({cases / max(seconds, 1e-9):.0f}/s), {len(self.groups)} kinds of finding"]
        for (op, kind), n in sorted(self.groups.items()):
            lines.append(f"  {op:28} {kind:10} x{n:<5} {self.first.get((op, kind), ('', ''))[1]}")
        return "\n".join(lines)


def has_complex() -> bool:
    """Whether tensors of complex dtype exist."""
    return hasattr(mg, "complex64")


def fuzz(args: argparse.Namespace) -> int:
    """Run workers until the time is over. Returns the number of groups of findings."""
    torch = None if args.no_torch else torch_or_none()
    ops = [x for x in args.ops.split(",") if x] or None
    generator = Generator(args.seed, ops, has_complex(), args.private)
    report = Report(args, generator, torch)
    patience = 60.0 if SANITIZED else 20.0
    began = time.time()
    workers = [Worker(k, args.jobs, generator, torch, k) for k in range(args.jobs)]
    try:
        while (passed := time.time() - began) < args.minutes * 60:
            for w in workers:
                found, alive = w.poll(patience)
                for case, finding in found:
                    report.add(case, finding, w.first)
                if not alive:
                    w.start(w.next_case)
            done = sum(w.done_before + w.state[2] for w in workers)
            if sys.stderr.isatty():
                filled = int(30 * passed / (args.minutes * 60))
                print(
                    f"\r[{'#' * filled}{'.' * (30 - filled)}] {passed:.0f}/{args.minutes * 60:.0f} s  {done} cases  "
                    f"{done / max(passed, 1e-9):.0f}/s  {len(report.groups)} findings",
                    end="", file=sys.stderr, flush=True,
                )  # fmt: skip
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    for w in workers:
        for case, finding in w._read():
            report.add(case, finding, w.first)
        w.stop()
    print(("\n" if sys.stderr.isatty() else "") + report.summary(sum(w.done_before for w in workers), time.time() - began))
    return len(report.groups)


def single(args: argparse.Namespace) -> int:
    """Run a range of cases in this process."""
    torch = None if args.no_torch else torch_or_none()
    ops = [x for x in args.ops.split(",") if x] or None
    generator = Generator(args.seed, ops, has_complex(), args.private)
    first, last = (int(x) for x in args.cases.split(":"))
    count = 0
    for case in range(first, last):
        program = generator.case(case)
        if args.show:
            print(f"# case {case}: {program.op}\n{program.render()}", flush=True)
        finding = judge(program, torch)
        if finding is not None and (finding.kind != "class" or args.classes):
            count += 1
            print(f"case {case}: {finding.kind} in {finding.op}: {finding.text}", flush=True)
    return count


def main(argv: list[str] | None = None) -> int:
    """Entry point; the exit code is 1 when anything was found."""
    args = parser().parse_args(argv)
    if args.replay is not None:
        results = corpus.replay_all(args.replay) if args.replay.is_dir() else {args.replay.name: corpus.replay(args.replay)}
        for name, finding in results.items():
            print(f"{'ok' if finding is None else 'FAIL':5} {name}" + (f"\n      {finding.kind}: {finding.text}" if finding else ""))
        return int(any(results.values()))
    return int((single if args.cases else fuzz)(args) > 0)


if __name__ == "__main__":
    sys.exit(main())
