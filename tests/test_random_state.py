"""Generators and the default generator's state: seeding, saving, restoring, forking, copying."""

from __future__ import annotations

import copy
import pickle

import pytest

import minigrad as mg


def draw(generator: mg.Generator | None = None) -> list[float]:
    return mg.rand(4, generator=generator).tolist()


def test_state_round_trip() -> None:
    mg.manual_seed(3)
    state = mg.get_rng_state()
    first = draw()
    mg.set_rng_state(state)
    assert draw() == first and state.dtype == mg.uint8
    mg.random.set_rng_state(state)
    assert draw() == first
    assert mg.initial_seed() == mg.random.initial_seed() == 3
    assert mg.manual_seed(4) is mg.default_generator
    assert mg.seed() == mg.initial_seed()


def test_fork_rng_restores_also_after_an_error() -> None:
    mg.manual_seed(5)
    expected = draw()
    mg.manual_seed(5)
    with pytest.raises(KeyError), mg.random.fork_rng():
        draw()
        mg.manual_seed(77)
        raise KeyError
    assert draw() == expected and mg.initial_seed() == 5
    mg.manual_seed(5)
    with mg.random.fork_rng(enabled=False):
        draw()
    assert draw() != expected

    @mg.random.fork_rng()
    def inside() -> None:
        draw()

    mg.manual_seed(5)
    inside()
    assert draw() == expected


def test_generator_interface() -> None:
    g = mg.Generator(device="cpu")
    assert g.device == mg.device("cpu") and g.initial_seed() == 67280421310721
    assert g.manual_seed(9) is g and g.initial_seed() == 9
    first = draw(g)
    assert draw(mg.Generator().manual_seed(9)) == first
    other = g.clone_state()
    assert other is not g and draw(other) == draw(g)
    other.set_state(g.get_state())
    assert draw(other) == draw(g)
    g.graphsafe_set_state(mg.Generator().manual_seed(9).graphsafe_get_state())
    assert draw(g) == first
    assert isinstance(g.seed(), int) and g.seed() != g.seed()
    with pytest.raises(TypeError):
        g.set_state([1, 2])
    with pytest.raises((RuntimeError, TypeError)):
        g.set_state(mg.zeros(3, dtype=mg.uint8))


@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda g: pickle.loads(pickle.dumps(g))])
def test_generators_copy_with_their_state(how) -> None:  # noqa: ANN001
    g = mg.Generator().manual_seed(21)
    draw(g)
    twin = how(g)
    assert twin.initial_seed() == 21 and draw(twin) == draw(g)
