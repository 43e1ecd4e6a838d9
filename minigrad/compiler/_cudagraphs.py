"""mode="reduce-overhead": a compiled form on a CUDA device recorded once as a CUDA graph and replayed, one launch for the whole step.

The first calls run the plan (kernels are compiled and tuned then), one is recorded. What the recording reads has to stay where it was:
inputs that move between calls are copied to places of its own first, and a parameter that was given other memory means a new recording.
Optimizers run inside of it, so a change of their numbers (a learning rate) is a new recording too, up to a limit; schedulers, which are
Python, step after the replay. Results are copies. What cannot be recorded (an optimizer that counts on the host, a value that is waited
for) stays with the plan, and `verdict` says why.
"""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad._core import Tensor

_WARM = 2  # calls of the plan before one is recorded
_MOST = 4  # recordings of one form


def _hyperparameters(owners: list[Any]) -> list:
    """The numbers that the steps of optimizers bake into kernels."""
    plain = (int, float, bool, str, tuple, type(None))
    groups = [g for o in owners if hasattr(o, "param_groups") for g in o.param_groups]
    return [[(k, v) for k, v in g.items() if isinstance(v, plain)] for g in groups]


class Recording:
    """One CUDA graph of a plan, with the memory that it reads and writes."""

    def __init__(self, plan: Any, inputs: list[Tensor], moving: set[int], owners: list[Any]) -> None:
        self.numbers = _hyperparameters(owners)
        self.places = [t.data_ptr() for t in inputs]
        self.moving = sorted(moving)
        self.inputs = [t.detach().clone() if k in moving else t for k, t in enumerate(inputs)]
        before = [t._version for t in self.inputs]
        self.graph = mg.cuda.CUDAGraph()
        with mg.cuda.graph(self.graph):
            self.outputs = plan.run(self.inputs)
        self.written = [k for k, t in enumerate(self.inputs) if t._version != before[k]]
        self.gradients = [(t, t.grad) for t in inputs if t.is_leaf and t.requires_grad and t.grad is not None]

    def fits(self, inputs: list[Tensor], owners: list[Any]) -> bool:
        """Whether what it reads is where it was, with the numbers that it has in it."""
        same = all(t.data_ptr() == p for k, (t, p) in enumerate(zip(inputs, self.places)) if k not in self.moving)
        return same and self.numbers == _hyperparameters(owners)

    def replay(self, inputs: list[Tensor]) -> list[Tensor]:
        """The results for these inputs."""
        with mg.no_grad():
            for k in self.moving:
                self.inputs[k].copy_(inputs[k])
            self.graph.replay()
            for k in self.written:
                if k in self.moving:
                    inputs[k].copy_(self.inputs[k])
                else:
                    mg.autograd.graph.increment_version(inputs[k])
            for leaf, gradient in self.gradients:
                if leaf.grad is not gradient:
                    leaf.grad = gradient
            return [t.clone() for t in self.outputs]


class Replay:
    """Stands in for `entry.call` of a compiled form: plan first, recordings then."""

    def __init__(self, entry: Any) -> None:
        self.entry, self.calls, self.count = entry, 0, 0
        self.recording: Recording | None = None
        self._places: list[int] = []
        self._moving: set[int] = set()
        reason = self._refusal()
        if reason:
            self._stop(reason)
        else:
            entry.call = self.call

    def _refusal(self) -> str:
        entry, last = self.entry, ""
        if entry.on_cpu or entry.backward is not None:
            return "tensors on the CPU" if entry.on_cpu else "gradients run apart from the forward pass. Try compiling the whole step"
        for owner in entry.owners:
            kind = type(owner).__name__
            if hasattr(owner, "param_groups") and last:
                return f"{last}.step() comes before {kind}.step()"
            last = "" if hasattr(owner, "param_groups") else kind
        return ""

    def _stop(self, reason: str) -> None:
        self.recording = None
        self.entry.call = self.entry.run
        self.entry.verdict = f"; no CUDA graph: {reason}"

    def call(self, args: tuple, kwargs: dict) -> Any:
        """The result of a call, or MISS."""
        entry = self.entry
        inputs = entry.form.inputs(args, kwargs)
        if inputs is None:
            return entry.MISS
        if any(t.device.type != "cuda" for t in inputs):
            self._stop("an input is not on a CUDA device")
            return entry.results(inputs, entry.plan.run(inputs))
        self.calls += 1
        if self.calls <= _WARM:
            self._watch(inputs)
            return entry.results(inputs, entry.plan.run(inputs))
        if self.recording is None or not self.recording.fits(inputs, entry.owners):
            self._watch(inputs)
            if not self._record(inputs):
                return entry.results(inputs, entry.plan.run(inputs))
        else:
            for owner in entry.owners:  # a recording's own run has done this
                if not hasattr(owner, "param_groups"):
                    owner.step()
        return entry.results(inputs, self.recording.replay(inputs))

    def _watch(self, inputs: list[Tensor]) -> None:
        places = [t.data_ptr() for t in inputs]
        if self._places:
            self._moving |= {k for k, (a, b) in enumerate(zip(self._places, places)) if a != b}
        self._places = places

    def _record(self, inputs: list[Tensor]) -> bool:
        if self.count == _MOST:
            self._stop(f"{_MOST} recordings are the limit: memory or numbers of the optimizer change from call to call")
            return False
        self.count += 1
        self.recording = None  # its memory may be used again
        try:
            self.recording = Recording(self.entry.plan, inputs, self._moving, self.entry.owners)
        except RuntimeError as error:
            self._stop(str(error))
            return False
        self.entry.verdict = f"; a CUDA graph, recorded {self.count} times"
        return True
