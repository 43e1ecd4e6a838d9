"""minigrad.profiler: what is recorded, tables, traces, schedules; and that nothing is recorded when it is off."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import minigrad as mg
import minigrad.func
from minigrad import _core
from minigrad.profiler import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    tensorboard_trace_handler,
)


def work() -> None:
    w = mg.ones(4, 3, requires_grad=True)
    (mg.ones(2, 4) @ w).relu().sum().backward()


def test_events_nest_and_are_linked() -> None:
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as prof:
        with record_function("step"):
            work()
    events = {e.name: e for e in reversed(prof.events())}  # the first of each
    assert events["aten::matmul"].cpu_parent is events["step"]
    assert events["aten::matmul"].input_shapes == [[2, 4], [4, 3]]
    backward = next(e for e in prof.events() if e.name == "ReluBackward0")
    assert backward.forward_event is events["aten::relu"] and backward.sequence_nr == events["aten::relu"].sequence_nr
    assert backward.cpu_parent is events["step"]
    step = events["step"]
    assert step.cpu_time_total >= sum(c.cpu_time_total for c in step.cpu_children)
    assert abs(step.self_cpu_time_total + sum(c.cpu_time_total for c in step.cpu_children) - step.cpu_time_total) < 1e-6


def test_nothing_is_recorded_outside() -> None:
    with profile() as prof:
        mg.ones(2).exp()
    count = len(prof.events())
    work()
    with record_function("outside"):
        pass
    assert len(prof.events()) == count and not _core.profile_is_on()
    assert "aten::exp" in {e.name for e in prof.events()}


def test_results_are_the_same_under_a_profile() -> None:
    x = mg.linspace(-2, 2, 7, requires_grad=True)
    (x.sigmoid() * x).sum().backward()
    plain, x.grad = x.grad, None
    with profile():
        (x.sigmoid() * x).sum().backward()
        with pytest.raises(RuntimeError):
            mg.ones(2) @ mg.ones(3)
        y = mg.ones(3)
        y.add_(1)
        assert y.tolist() == [2, 2, 2]
    assert (x.grad == plain).all()


def test_table_and_averages() -> None:
    with profile(record_shapes=True, with_flops=True, profile_memory=True) as prof:
        for n in (2, 2, 5):
            mg.ones(n, 4) @ mg.ones(4, 3)
    sums = {a.key: a for a in prof.key_averages()}
    assert sums["aten::matmul"].count == 3 and sums["aten::matmul"].flops == 2 * 4 * 3 * (2 + 2 + 5)
    assert abs(sums["aten::matmul"].cpu_time * 3 - sums["aten::matmul"].cpu_time_total) < 1e-6
    assert len([a for a in prof.key_averages(group_by_input_shape=True) if a.key == "aten::matmul"]) == 2
    text = prof.key_averages().table(sort_by="cpu_time_total", row_limit=2)
    assert "Self CPU time total" in text and "# of Calls" in text and "CPU Mem" in text and text.count("aten::") == 2
    with pytest.raises(AttributeError, match="sort"):
        prof.key_averages().table(sort_by="nonsense")


def test_memory() -> None:
    keep = []
    with profile(profile_memory=True) as prof:
        keep.append(mg.ones(1 << 18))
    assert sum(e.self_cpu_memory_usage for e in prof.events()) >= 1 << 20


def test_memory_of_devices() -> None:
    """Where tensors lie on a device, their bytes are its own; on the CPU the columns are not shown."""
    on_device = mg.get_default_device().type != "cpu"
    with profile(profile_memory=True) as prof:
        kept = mg.ones(1 << 18)
    assert sum(e.self_device_memory_usage for e in prof.events()) == (kept.nbytes if on_device else 0)
    assert ("Self CUDA Mem" in prof.key_averages().table(sort_by="self_device_memory_usage")) is on_device


def test_stacks(tmp_path: Path) -> None:
    with profile(with_stack=True) as prof:
        for _ in range(30):
            mg.ones(300, 300) @ mg.ones(300, 300)
    assert any("test_stacks" in line for line in prof.events()[0].stack)
    prof.export_stacks(str(tmp_path / "stacks.txt"))
    line = (tmp_path / "stacks.txt").read_text().splitlines()[0]
    assert "test_stacks" in line and line.split()[-1].isdigit()
    with pytest.raises(ValueError, match="metric"):
        prof.export_stacks(str(tmp_path / "x"), "nonsense")


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_chrome_trace(tmp_path: Path, name: str) -> None:
    with profile(record_shapes=True) as prof:
        work()
    prof.add_metadata_json("run", '{"lr": 1}')
    prof.export_chrome_trace(str(tmp_path / name))
    data = (tmp_path / name).read_bytes()
    trace = json.loads(gzip.decompress(data) if name.endswith("gz") else data)
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert {"ph", "cat", "name", "pid", "tid", "ts", "dur", "args"} <= set(slices[0]) and trace["run"] == {"lr": 1}
    arrows = [e for e in trace["traceEvents"] if e["ph"] in "sf"]
    assert arrows and len([a for a in arrows if a["ph"] == "s"]) == len([a for a in arrows if a["ph"] == "f"])
    assert all(e["dur"] >= 0 and e["ts"] >= 0 for e in slices)


@pytest.mark.filterwarnings("ignore:Profiler won't be using warmup")
def test_schedule_equals_torchs() -> None:
    torch = pytest.importorskip("torch")
    cases = (
        dict(wait=1, warmup=1, active=2), dict(wait=0, warmup=0, active=1, repeat=2), dict(wait=2, warmup=1, active=3, skip_first=2),
        dict(wait=2, warmup=1, active=1, skip_first_wait=1, repeat=2),
    )  # fmt: skip
    for options in cases:
        ours, theirs = schedule(**options), torch.profiler.schedule(**options)
        assert [ours(k).name for k in range(20)] == [theirs(k).name for k in range(20)], options
    with pytest.raises(AssertionError):
        schedule(wait=-1, warmup=0, active=1)
    assert ProfilerAction.RECORD_AND_SAVE.value == 3


def test_scheduled_steps(tmp_path: Path) -> None:
    seen: list[tuple[int, set[str]]] = []

    def ready(prof: Any) -> None:
        seen.append((prof.step_num, {e.name for e in prof.events() if e.name.startswith("ProfilerStep")}))

    with profile(schedule=schedule(wait=1, warmup=1, active=2, repeat=2), on_trace_ready=ready) as prof:
        for _ in range(10):
            work()
            prof.step()
    assert [s for s, _ in seen] == [4, 8]
    assert seen[0][1] == {"ProfilerStep#2", "ProfilerStep#3"} and seen[1][1] == {"ProfilerStep#6", "ProfilerStep#7"}
    with profile(on_trace_ready=tensorboard_trace_handler(str(tmp_path / "logs"), "me")):
        work()
    (written,) = (tmp_path / "logs").iterdir()
    assert written.name.startswith("me.") and written.name.endswith(".pt.trace.json")


def test_only_one_profile_at_a_time() -> None:
    with profile(), pytest.raises(RuntimeError, match="already"):
        profile().start()
    with profile() as prof:
        mg.ones(2)
    assert prof.events()


def test_threads_have_rows_of_their_own() -> None:
    with profile() as prof:
        other = threading.Thread(target=lambda: mg.ones(3).exp())
        other.start()
        other.join()
        mg.ones(3).log()
    rows = {e.name: e.thread for e in prof.events()}
    assert rows["aten::exp"] != rows["aten::log"]


def test_decorator_and_older_face() -> None:
    @record_function("named")
    def run(x: mg.Tensor) -> mg.Tensor:
        return x.exp()

    with mg.autograd.profiler.profile(use_cpu=True) as prof:
        run(mg.ones(2))
    assert "named" in {a.key for a in prof.key_averages()} and "aten::exp" in prof.table()
    with mg.autograd.profiler.profile(enabled=False):
        run(mg.ones(2))


def test_inner_paths_of_torch() -> None:
    import minigrad.autograd.profiler_util
    import minigrad.profiler.profiler

    assert minigrad.profiler.profiler.schedule is schedule
    assert minigrad.autograd.profiler_util.EventList is minigrad.profiler.EventList


def test_backward_takes_its_usual_way() -> None:
    """What is recorded is the fast form of the gradients, not the formulas that function transforms need."""
    x = mg.ones(4, 4, requires_grad=True)
    with profile() as prof:
        mg.tanh(x).sum().backward()
    tanh = next(e for e in prof.events() if e.name == "TanhBackward0")
    assert len(tanh.cpu_children) <= 1 and tanh.forward_event is not None


def test_backward_takes_its_usual_way_beside_handlers() -> None:
    """Data-less tensors that exist elsewhere change nothing for the rest of the program."""
    elsewhere, escaped = mg.empty(3, device="meta"), []
    minigrad.func.vmap(lambda t: escaped.append(t) or t * 2)(mg.ones(2))
    test_backward_takes_its_usual_way()
    assert elsewhere.is_meta and len(escaped) == 1
