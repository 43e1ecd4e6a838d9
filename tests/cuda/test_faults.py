"""Mistakes planted in kernels and programs are caught by the simulated device, and named: through minigrad's own allocator and streams."""

from __future__ import annotations

import pytest
from simulated import run_program

import minigrad as mg

pytestmark = pytest.mark.skipif(not mg.cuda.is_simulated(), reason="the simulated device only")


def report(text: str, **environment: str) -> str:
    """What a program that must fail says."""
    done = run_program(text, **environment)
    assert done.returncode != 0, f"nothing was caught: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_out_of_bounds_write() -> None:
    text = report("""
        x = mg.ones(64, device="cuda")
        sim.sim_write_beyond(x.data_ptr(), 64)
        cuda.synchronize()
    """)
    assert "RuntimeError" in text and "256 bytes" in text and "sim_faults.cpp" in text, text


def test_missing_barrier_shows_in_one_of_the_orders() -> None:
    program = """
        x = mg.arange(64.0, device="cpu").to("cuda")
        sim.sim_missing_barrier(x.data_ptr())
        assert x.cpu().tolist() == list(range(63, -1, -1)), "wrong values"
    """
    failed = [run_program(program, MINIGRAD_CUDASIM_ORDER=order).returncode != 0 for order in ("forward", "reverse")]
    assert any(failed)


def test_divergent_barrier() -> None:
    text = report("""
        x = mg.ones(64, device="cuda")
        sim.sim_divergent_barrier(x.data_ptr())
        cuda.synchronize()
    """)
    assert "__syncthreads" in text and "sim_faults.cpp" in text, text


@pytest.mark.parametrize("guard", ["", "mprotect"])
def test_host_dereference(guard: str) -> None:
    done = run_program(
        """
        x = mg.ones(64, device="cuda")
        cuda.synchronize()
        print("read", sim.sim_host_dereference(x.data_ptr()))
    """,
        **({"MINIGRAD_CUDASIM_GUARD": guard} if guard else {}),
    )
    assert done.returncode < 0 and "read" not in done.stdout and "device memory" in done.stderr, done.stderr


def test_use_after_free_across_streams() -> None:
    program = """
        x, out = mg.ones(64, device="cuda"), mg.ones(64, device="cuda")
        cuda.synchronize()
        s = cuda.Stream()
        with cuda.stream(s):
            {use}
        del x
        cuda.default_stream().synchronize()  # nothing makes it wait for s
        cuda.synchronize()
        print(sim.sim_last_report())
    """
    said = run_program(program.format(use="sim.sim_read(out.data_ptr(), x.data_ptr())"))
    assert "cudaFreeAsync" in said.stdout + said.stderr, said
    clean = run_program(program.format(use="out.copy_(x)"))  # an op: its use of x is known
    assert clean.returncode == 0 and "cudaFreeAsync" not in clean.stdout + clean.stderr.split("at exit")[0], clean


def test_unordered_streams() -> None:
    program = """
        x = mg.ones(64, device="cuda")
        s = cuda.Stream()
        {order}
        with cuda.stream(s):
            y = x.clone()
        s.synchronize()
        print("races", sim.sim_races())
    """
    assert "races 0" not in run_program(program.format(order="pass")).stdout
    assert "races 0" in run_program(program.format(order="s.wait_stream(cuda.current_stream())")).stdout


def test_a_fault_names_the_op_when_synchronous() -> None:
    text = report(
        """
        x = mg.ones(64, device="cuda")
        sim.sim_write_beyond(x.data_ptr(), 64)
        x.clone()
    """,
        MINIGRAD_CUDA_SYNC="1",
    )
    assert "clone: CUDA error" in text, text


def test_the_simulator_is_never_taken_by_accident() -> None:
    done = run_program("print(cuda.is_available(), cuda.device_count(), cuda.is_simulated())", MINIGRAD_CUDASIM="0")
    assert done.stdout.split() == ["False", "0", "False"], done
    done = run_program("print(cuda.is_available(), cuda.is_simulated(), cuda.get_device_name())")
    assert done.stdout.split()[:2] == ["True", "True"] and "simulator" in done.stdout, done
