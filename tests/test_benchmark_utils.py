"""minigrad.utils.benchmark: Timer, Measurement, Compare."""

from __future__ import annotations

import pytest

import minigrad as mg
from minigrad.utils.benchmark import Compare, Measurement, TaskSpec, Timer, select_unit, trim_sigfig


def test_timer() -> None:
    before = mg.get_num_threads()
    t = Timer("y = x + 1", setup="x = minigrad.ones(4)", label="add", sub_label="four", description="mine", num_threads=2)
    m = t.timeit(200)
    assert m.number_per_run == 200 and len(m.times) == 1 and 0 < m.median < 1e-2 and m.mean == m.median
    seen: list[int] = []
    m = t.blocked_autorange(lambda n, s: seen.append(n), min_run_time=0.01)
    assert sum(m.raw_times) >= 0.01 and set(seen) == {m.number_per_run} and len(m.times) == len(seen)
    assert "Median" in repr(m) and "2 threads" in repr(m) and "add: four" in repr(m)
    assert len(t.adaptive_autorange(max_run_time=0.05).times) >= 1
    assert mg.get_num_threads() == before and m.label == "add" and m.num_threads == 2
    with pytest.raises(NotImplementedError):
        t.repeat()
    with pytest.raises(ValueError, match="str"):
        Timer(lambda: None)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        _ = m.nonsense


def measured(seconds: list[float], **spec: object) -> Measurement:
    return Measurement(10, [10 * s for s in seconds], TaskSpec("f()", "pass", **spec))  # type: ignore[arg-type]


def test_statistics_against_torch() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.benchmark import Measurement as Theirs
    from torch.utils.benchmark import TaskSpec as Spec

    times = [1e-3, 1.1e-3, 1.05e-3, 2e-3, 0.9e-3]
    ours, theirs = measured(times), Theirs(10, [10 * s for s in times], Spec("f()", "pass"))
    for name in ("median", "mean", "iqr"):
        assert abs(getattr(ours, name) - getattr(theirs, name)) < 1e-12
    assert ours.has_warnings == theirs.has_warnings and torch is not None


def test_units_and_merge() -> None:
    assert select_unit(2.0) == ("s", 1.0) and select_unit(3e-5)[0] == "us" and select_unit(1e-9)[0] == "ns"
    assert trim_sigfig(1234.5, 2) == 1200 and trim_sigfig(0.0, 3) == 0
    (joined,) = Measurement.merge([measured([1e-3]), measured([2e-3])])
    assert joined.median == pytest.approx(1.5e-3)


def test_compare() -> None:
    rows = [
        measured([1e-3], label="op", sub_label="small", description="a"),
        measured([2e-3], label="op", sub_label="small", description="b"),
        measured([30e-3], label="op", sub_label="large", description="a", num_threads=4),
    ]
    table = Compare(rows)
    table.trim_significant_figures()
    text = str(table)
    assert "[---- op" in text and "small" in text and "4 threads" in text and "milliseconds (ms)" in text and "2.0" in text
    table.colorize()
    assert "\033[92m" in str(table)
    with pytest.raises(ValueError, match="Measurement"):
        Compare([1])  # type: ignore[list-item]
