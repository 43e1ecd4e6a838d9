"""The line between DataLoader and worker: any value comes back equal, memory is reused only when nobody looks at it any more."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.data._channel import BUSY, FREE, INLINE_LIMIT, KEEP_FREE, RETIRED, Channel, ChannelClosed, _SegmentPool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses memfd and SOCK_SEQPACKET")
DTYPES = [mg.float32, mg.bfloat16, mg.float64, mg.int64, mg.uint8, mg.bool, mg.complex64]


def channels():
    ours, theirs = Channel.pair()
    return Channel(ours, blocking=False), Channel(theirs, blocking=True)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    made = mg.arange(math.prod(shape)).reshape(shape).to(draw(st.sampled_from(DTYPES)))
    if shape and draw(st.booleans()):
        made = made.permute(draw(st.permutations(range(len(shape)))))
    if shape and draw(st.booleans()):
        made = made[..., ::2]
    if draw(st.booleans()):
        made = made.unsqueeze(0).expand(draw(st.integers(1, 3)), *made.shape)
    return made


leaves = st.one_of(tensors(), st.integers(), st.text(max_size=5), st.binary(max_size=5), st.none(), st.just("x" * (INLINE_LIMIT + 1)))
values = st.recursive(leaves, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3),
                                                      st.tuples(inner, inner)), max_leaves=6)  # fmt: skip


def same(a, b):
    if isinstance(a, mg.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and a.tolist() == b.tolist()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@given(st.lists(values, min_size=1, max_size=4))
def test_any_value_arrives_equal(sent):
    ours, theirs = channels()
    kept = []
    for value in sent:
        theirs.send(value)
        kept.append(ours.receive())
        ours.send(value)  # both ways
        assert same(theirs.receive(), value)
    assert all(map(same, sent, kept))  # what is kept was not overwritten by later messages
    ours.close()
    theirs.close()


def test_segments_come_back_and_stay_few():
    ours, theirs = channels()
    for _ in range(50):
        theirs.send(mg.ones(1000))
        assert ours.receive().sum().item() == 1000
    assert len(theirs._pool.segments) == 1 == len(ours._known)
    kept = []
    for _ in range(20):
        theirs.send(mg.ones(1000))
        kept.append(ours.receive())
    assert len(theirs._pool.segments) >= 20
    kept.clear()
    for size in (10, 1000, 10, 1000):
        theirs.send(mg.ones(size))
        ours.receive()
    assert len(theirs._pool.segments) <= KEEP_FREE + 2 and set(ours._known) == set(theirs._pool.segments)


def test_pool_rules():
    pool = _SegmentPool()
    number, segment, new, dropped = pool.take(100)
    assert new and not dropped and segment.state == BUSY and segment.nbytes >= 100
    assert pool.take(100)[0] != number  # busy
    segment.state = FREE
    assert pool.take(100)[:2] == (number, segment)
    segment.state = RETIRED
    again, _, _, dropped = pool.take(100)
    assert again != number and dropped == [number]


def test_closed_and_full_lines():
    ours, theirs = channels()
    with pytest.raises(BlockingIOError):
        ours.receive()
    for number in range(2000):  # more than the socket takes: the rest waits here
        ours.send(number)
    assert not ours.flush()
    got = []
    while len(got) < 2000:
        got.append(theirs.receive())
        ours.flush()
    assert got == list(range(2000))
    theirs.close()
    with pytest.raises(ChannelClosed):
        ours.receive()
    with pytest.raises(ChannelClosed):
        ours.send(1)
    ours.hang_up()
    ours.hang_up()  # twice is fine
