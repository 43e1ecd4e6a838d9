"""The runtime of the CUDA backend: devices, memory, streams, events, graphs, pinned memory, exchange with other libraries."""

from __future__ import annotations

import gc

import pytest
from simulated import run_program

import minigrad as mg

cuda = mg.cuda


def on(*values: float) -> mg.Tensor:
    return mg.tensor(list(values)).to("cuda")


def test_devices() -> None:
    assert cuda.is_available() and cuda.device_count() >= 1 and cuda.is_built()
    assert cuda.current_device() == 0 and cuda.get_device_properties(0).warp_size == 32
    assert mg.zeros(2, device="cuda").device == mg.device("cuda:0") and mg.zeros(2, device=0).is_cuda
    x = mg.ones(2).cuda()
    assert x.cuda() is x and x.to("cuda") is x and x.to("cuda:0") is x and x.cpu().device.type == "cpu" and x.get_device() == 0
    with cuda.device(0), cuda.device(None), cuda.device_of(x):
        assert cuda.current_device() == 0
    with pytest.raises(RuntimeError, match="does not exist"):
        mg.zeros(2, device="cuda:77")
    with pytest.raises(AssertionError, match="Invalid device id"):
        cuda.get_device_name(77)


def test_old_types() -> None:
    x = cuda.FloatTensor([1.0, 2.0])
    assert x.is_cuda and isinstance(x, cuda.FloatTensor) and not isinstance(x, mg.FloatTensor)
    assert x.type() == "minigrad.cuda.FloatTensor" and mg.ones(2).type() == "minigrad.FloatTensor"
    assert mg.ones(2).type("torch.cuda.DoubleTensor").is_cuda and not x.type(mg.IntTensor).is_cuda
    assert cuda.LongTensor(2, 3).shape == (2, 3) and x.type(mg.float64).is_cuda
    with pytest.raises(NotImplementedError, match="utilization is not available"):
        cuda.utilization()


@pytest.mark.parametrize("dtype", [mg.bool, mg.uint8, mg.int16, mg.int64, mg.float16, mg.bfloat16, mg.float64, mg.complex64])
@pytest.mark.parametrize("layout", ["plain", "transposed", "expanded", "stepped", "empty", "scalar"])
def test_copies_keep_values(dtype: mg.dtype, layout: str) -> None:
    base = mg.arange(24).reshape(4, 6).to(dtype)
    x = {"plain": base, "transposed": base.t(), "expanded": base[:1].expand(3, 6), "stepped": base[::2, 1::3], "empty": base[:0],
         "scalar": base[1, 1]}[layout]  # fmt: skip
    there = x.to("cuda")
    assert there.dtype == dtype and there.shape == x.shape
    assert mg.equal(there.cpu(), x) and there.clone().cpu().tolist() == x.tolist()
    wide = there.to(mg.complex128 if dtype.is_complex else mg.float64)
    assert wide.cpu().tolist() == x.to(wide.dtype).tolist()
    backwards = tuple(reversed(range(x.dim())))
    target = mg.zeros(x.shape[::-1], dtype=dtype, device="cuda").permute(backwards)
    assert target.copy_(x).cpu().tolist() == x.tolist()
    back = mg.zeros(x.shape[::-1], dtype=dtype).permute(backwards)
    assert back.copy_(there).tolist() == x.tolist()


def test_gradients_come_home() -> None:
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    v = w.cuda()
    assert v.grad_fn is not None
    (v * v).backward(mg.ones(2, device="cuda"))
    assert w.grad.device.type == "cpu" and w.grad.tolist() == [2.0, 4.0]


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        on(1.0) + mg.ones(1)
    with pytest.raises(RuntimeError, match="same device"):
        mg.ones(1) + on(1.0)
    assert (on(1.0, 2.0) * mg.tensor(3.0)).cpu().tolist() == [3.0, 6.0]
    assert (mg.tensor(3.0) * on(1.0, 2.0)).is_cuda


def test_memory_counts() -> None:
    gc.collect()
    cuda.empty_cache()
    before = cuda.memory_allocated()
    cuda.reset_peak_memory_stats()
    x = mg.empty(1 << 18, device="cuda")
    assert cuda.memory_allocated() - before == 1 << 20
    y = x.clone()
    del x, y
    assert cuda.memory_allocated() == before and cuda.max_memory_allocated() >= before + (2 << 20)
    stats = cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == before
    assert cuda.memory_stats_as_nested_dict()["allocated_bytes"]["all"]["current"] == before
    assert "allocated_bytes.all.peak" in cuda.memory_summary() and cuda.mem_get_info()[0] <= cuda.mem_get_info()[1]


def test_snapshot_names_holders() -> None:
    x = mg.ones(1000, device="cuda")
    y = x.clone()
    tags = [b["tag"] for s in cuda.memory_snapshot() for b in s["blocks"] if b["state"] == "active_allocated"]
    assert "clone" in tags and any(tag == "clone" for tag, _, _ in cuda.memory_holders())
    for segment in cuda.memory_snapshot():
        assert segment["total_size"] == sum(b["size"] for b in segment["blocks"])
    del y


def test_out_of_memory_names_the_holders() -> None:
    gc.collect()
    held = [mg.zeros(1 << 16, device="cuda").clone() for _ in range(3)]
    cuda.set_memory_limit(cuda.memory_allocated() + (1 << 16))
    try:
        assert cuda.get_per_process_memory_fraction() < 1
        with pytest.raises(mg.OutOfMemoryError, match=r"CUDA out of memory. Tried to allocate 1.00 MiB .* Held by: .*clone \S+ [KM]iB in"):
            mg.empty(1 << 18, device="cuda")
        with pytest.raises(cuda.OutOfMemoryError):
            held[0].to(mg.float64)
        small = mg.empty(16, device="cuda")  # goes on working
        assert small.is_cuda and cuda.memory_stats()["num_ooms"] >= 2
    finally:
        cuda.set_memory_limit(None)
    assert mg.empty(1 << 18, device="cuda").is_cuda and held


def test_cached_memory_is_reused_on_its_stream_only() -> None:
    done = run_program(
        """
        x = mg.ones(1000, device="cuda")
        first = x.data_ptr()
        del x
        assert mg.ones(1000, device="cuda").data_ptr() == first
        s = cuda.Stream()
        with cuda.stream(s):
            y = mg.ones(1000, device="cuda")
        assert y.data_ptr() != first
        x = mg.ones(1000, device="cuda")
        here = x.data_ptr()
        s.wait_stream(cuda.current_stream())
        with cuda.stream(s):
            z = x.clone()        # used on s ...
        del x
        assert cuda.memory_stats()["pending_bytes"] > 0
        other = mg.ones(1000, device="cuda")
        assert other.data_ptr() != here      # ... so not handed out before s is done
        s.synchronize()
        again = mg.ones(1000, device="cuda")
        assert again.data_ptr() == here and cuda.memory_stats()["pending_bytes"] == 0
        assert z.cpu().tolist() == [1.0] * 1000
        assert cuda.memory_reserved() > 0 and "inactive" in str(cuda.memory_snapshot())
        del y, z, again, other
        cuda.empty_cache()
        assert cuda.memory_reserved() == 0, cuda.memory_stats()
        print("fine")
    """,
        MINIGRAD_CUDA_CACHE="1",
    )
    assert "fine" in done.stdout, done.stderr


def test_streams_and_events() -> None:
    s, t = cuda.Stream(), cuda.Stream(priority=-1)
    assert s != t and s == cuda.Stream(_address=s.cuda_stream) and cuda.current_stream() == cuda.default_stream()
    x = on(1.0, 2.0)
    begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    s.wait_stream(cuda.current_stream())
    with cuda.stream(s):
        assert cuda.current_stream() == s
        begin.record()
        y = x + x
        with t:
            t.wait_stream(s)
            z = y * y
        end.record(t)
    assert cuda.current_stream() == cuda.default_stream()
    end.synchronize()
    assert end.query() and begin.query() and begin.elapsed_time(end) >= 0 and t.query()
    cuda.current_stream().wait_event(end)
    assert z.cpu().tolist() == [4.0, 16.0] and s.__cuda_stream__() == (0, s.cuda_stream)
    assert cuda.Event().query() and cuda.ExternalStream(s) == s
    with pytest.raises(ValueError, match="enable_timing"):
        s.record_event().elapsed_time(end)
    with pytest.raises(ValueError, match="recorded first"):
        cuda.Event().elapsed_time(end)
    cuda.synchronize()


def test_pinned_memory() -> None:
    x = mg.arange(6.0).reshape(2, 3)
    p = x.t().pin_memory()
    assert p.is_pinned() and not x.is_pinned() and p.pin_memory() is p and p.tolist() == x.t().tolist() and p[1].is_pinned()
    there = p.to("cuda", non_blocking=True)
    del p  # the copy may still be to come
    q = mg.full((3, 2), 7.0).pin_memory()
    assert there.cpu().tolist() == x.t().tolist()
    q.copy_(there, non_blocking=True)
    cuda.synchronize()
    assert q.tolist() == x.t().tolist()
    with pytest.raises(RuntimeError, match="cannot pin"):
        there.pin_memory()


def test_loader_pins_batches() -> None:
    batches = list(mg.data.DataLoader(mg.data.TensorDataset(mg.arange(4.0), mg.arange(4)), batch_size=2, pin_memory=True))
    assert all(x.is_pinned() and y.is_pinned() for x, y in batches)
    assert batches[1][0].cuda(non_blocking=True).cpu().tolist() == [2.0, 3.0]


def test_accelerator_and_files(tmp_path) -> None:
    assert mg.accelerator.is_available() and mg.accelerator.current_accelerator().type == "cuda" and mg.backends.cuda.is_built()
    with mg.accelerator.device_index(0):
        assert mg.accelerator.current_device_index() == 0
    mg.save({"w": on(1.0, 2.0)}, tmp_path / "w.pt")
    assert mg.load(tmp_path / "w.pt")["w"].is_cuda and not mg.load(tmp_path / "w.pt", map_location="cpu")["w"].is_cuda


def test_graph_replays_with_new_inputs() -> None:
    x, w = on(1.0, 2.0), on(3.0, 4.0)
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        y = (x * w + x) * x
    for values in ([1.0, 2.0], [5.0, -1.0]):
        x.copy_(mg.tensor(values))
        g.replay()
        assert y.cpu().tolist() == [(v * k + v) * v for v, k in zip(values, (3.0, 4.0))]
    other = cuda.CUDAGraph()
    with cuda.graph(other, pool=g.pool()):
        z = y + y
    g.replay()
    other.replay()
    assert z.cpu().tolist() == [2 * v for v in y.cpu().tolist()]
    reserved = cuda.memory_reserved()
    del y, z
    g.reset()
    other.reset()
    assert cuda.memory_reserved() < reserved


def test_graph_refuses_what_waits() -> None:
    x = on(1.0)
    g = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="while a CUDA graph is being captured"), cuda.graph(g):
        (x + x).item()
    with pytest.raises(RuntimeError, match="nothing was captured|captured already"):
        cuda.CUDAGraph().replay()
    with pytest.raises(RuntimeError, match="non-default stream"):
        cuda.CUDAGraph().capture_begin()
    assert not cuda.is_current_stream_capturing()
    assert (x + x).item() == 2.0


def test_graphed_callable() -> None:
    f = cuda.make_graphed_callables(lambda a, b: a * b + a, (on(1.0, 1.0), on(1.0, 1.0)))
    assert f(on(2.0, 3.0), on(4.0, 5.0)).cpu().tolist() == [10.0, 18.0]
    assert f(on(1.0, 2.0), on(0.0, 1.0)).cpu().tolist() == [1.0, 4.0]


def test_exchange() -> None:
    x = mg.arange(6.0).reshape(2, 3).cuda()
    y = mg.from_dlpack(x.t())
    assert y.is_cuda and y.data_ptr() == x.data_ptr() and y.cpu().tolist() == x.cpu().t().tolist() and x.__dlpack_device__() == (2, 0)
    info = x.t().__cuda_array_interface__
    assert info["shape"] == (3, 2) and info["strides"] == (4, 12) and info["data"] == (x.data_ptr(), False) and info["stream"] == 1
    assert not hasattr(mg.ones(1), "__cuda_array_interface__")

    class Foreign:
        __cuda_array_interface__ = info

    z = mg.as_tensor(Foreign())
    assert z.is_cuda and z.data_ptr() == x.data_ptr() and z.cpu().tolist() == x.cpu().t().tolist()
    with pytest.raises(RuntimeError, match="requires grad"):
        x.clone().requires_grad_().__cuda_array_interface__  # noqa: B018


def test_generators() -> None:
    cuda.manual_seed(5)
    assert cuda.initial_seed() == 5
    state = cuda.get_rng_state()
    cuda.manual_seed_all(6)
    assert cuda.initial_seed() == 6
    cuda.set_rng_state(state)
    assert cuda.initial_seed() == 5


def test_printing() -> None:
    assert repr(on(1.0, 2.0)) == "tensor([1., 2.], device='cuda:0')"
    assert on(3.0).item() == 3.0 and mg.arange(3).cuda().tolist() == [0, 1, 2]
