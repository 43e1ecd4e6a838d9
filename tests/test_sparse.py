"""Sparse COO/CSR/CSC tensors against PyTorch."""

import copy
import pickle

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS, COLUMNS = [0, 1, 1, 3, 1], [2, 0, 2, 1, 2]  # (1, 2) twice
VALUES = [3.0, 4.0, 5.0, -6.0, 0.5]
LIBS = [mg, torch]


def coo(lib, coalesced=False, requires_grad=False, dtype=None):
    x = lib.sparse_coo_tensor(lib.tensor([ROWS, COLUMNS]), lib.tensor(VALUES, dtype=dtype), (4, 3), requires_grad=requires_grad)
    return x.coalesce() if coalesced else x


def dense(lib, *shape, seed=0, requires_grad=False):
    return lib.tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32), requires_grad=requires_grad)


def same(a, b, tol=1e-5):
    """One minigrad and one PyTorch tensor, of any layout."""
    assert str(a.layout).split(".")[-1] == str(b.layout).split(".")[-1]
    assert tuple(a.shape) == tuple(b.shape) and str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1]
    if a.is_sparse:
        a, b = a.coalesce(), b.coalesce()
        assert a.indices().tolist() == b.indices().tolist() and a._nnz() == b._nnz()
        a, b = a.values(), b.values()
    elif a.layout != mg.strided:
        names = ("crow_indices", "col_indices") if a.layout == mg.sparse_csr else ("ccol_indices", "row_indices")
        for name in names:
            assert getattr(a, name)().tolist() == getattr(b, name)().tolist()
        a, b = a.values(), b.values()
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


# --- what they are -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lib", LIBS)
def test_attributes(lib):
    x = coo(lib)
    assert isinstance(x, lib.Tensor) and lib.is_tensor(x)
    assert x.is_sparse and not x.is_sparse_csr and x.layout == lib.sparse_coo and not lib.ones(2).is_sparse
    assert x.shape == (4, 3) and x.size(1) == 3 and x.dim() == 2 and x.numel() == 12 and x._nnz() == 5 and x.dtype == lib.float32
    assert x.sparse_dim() == 2 and x.dense_dim() == 0 and not x.is_coalesced() and x.coalesce().is_coalesced()
    assert x._indices().tolist() == [ROWS, COLUMNS] and x._values().tolist() == VALUES and len(x) == 4
    c = x.to_sparse_csr()
    assert c.layout == lib.sparse_csr and c.is_sparse_csr and not c.is_sparse
    assert c.crow_indices().tolist() == [0, 1, 3, 3, 4]
    assert c.col_indices().tolist() == [2, 0, 2, 1] and c.values().tolist() == [3, 4, 5.5, -6]
    assert x.T.shape == (3, 4) and x.detach().is_sparse and not x.is_contiguous() and x.coalesce().coalesce().is_coalesced()
    d = lib.ones(2)
    assert d.sparse_dim() == 0 and d.dense_dim() == 1 and d.to_dense() is d


REFUSALS = {
    "indices": lambda lib: coo(lib).indices(),
    "values": lambda lib: coo(lib).values(),
    "dense coalesce": lambda lib: lib.ones(2).coalesce(),
    "dense values": lambda lib: lib.ones(2).values(),
    "csr indices": lambda lib: coo(lib).to_sparse_csr().indices(),
    "numpy": lambda lib: coo(lib).numpy(),
    "exp": lambda lib: coo(lib).exp(),
    "add number": lambda lib: coo(lib) + 1,
    "view": lambda lib: coo(lib).view(3, 4),
    "item": lambda lib: coo(lib).item(),
    "equal": lambda lib: coo(lib) == coo(lib),
    "sizes": lambda lib: coo(lib) @ lib.ones(4, 3),
    "nnz": lambda lib: lib.sparse_coo_tensor(lib.tensor([[0, 1], [0, 0]]), lib.ones(3), (2, 2)),
    "indices 1-d": lambda lib: lib.sparse_coo_tensor(lib.tensor([0, 1]), lib.ones(2)),
    "too many dims": lambda lib: lib.sparse_coo_tensor(lib.tensor([[0, 1]]), lib.ones(2), (2, 3)),
    "out of range": lambda lib: lib.sparse_coo_tensor(lib.tensor([[0, 7]]), lib.ones(2), (2,), check_invariants=True),
    "negative": lambda lib: lib.sparse_coo_tensor(lib.tensor([[0, -1]]), lib.ones(2)),
    "csr": lambda lib: lib.sparse_csr_tensor([0, 5], [0], [1.0], (1, 1), check_invariants=True),
    "csr of 3-d": lambda lib: lib.ones(2, 2, 2).to_sparse(1).to_sparse_csr(),
    "storage": lambda lib: coo(lib).storage(),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    with pytest.raises(Exception) as theirs:
        REFUSALS[name](torch)
    with pytest.raises(theirs.type):
        REFUSALS[name](mg)


def test_a_kernel_never_sees_one():
    x = coo(mg)
    for call in (lambda: mg.exp(x), lambda: x.cumsum(0), lambda: x.where(mg.ones(4, 3) > 0, 0), lambda: x.sort(), lambda: x.tolist()):
        with pytest.raises(NotImplementedError, match="to_dense"):
            call()


@pytest.mark.parametrize(
    "make",
    [
        lambda: mg.sparse_coo_tensor([[0], [7]], [1.0], (2, 3)),
        lambda: mg.sparse_coo_tensor([[0], [7]], [1.0], (2, 3), is_coalesced=True),
        lambda: mg.sparse_coo_tensor([[5], [0]], [1.0], (2, 3)),
        lambda: mg.sparse_coo_tensor([[5], [0]], [1.0], (2, 3), is_coalesced=True),
        lambda: mg.sparse_coo_tensor([[0], [-1]], [1.0], (2, 3), is_coalesced=True),
        lambda: mg.sparse_csr_tensor([0, 5, 1], [0], [1.0], (2, 3)),
        lambda: mg.sparse_csr_tensor([0, 2, 9], [0], [1.0], (2, 3)),
        lambda: mg.sparse_csr_tensor([0, 1, 1], [9], [1.0], (2, 3)),
    ],
)
def test_indices_outside_are_errors_when_used(make):
    for use in (lambda x: x @ mg.ones(3, 2), lambda x: x.to_dense(), lambda x: x.to_sparse().coalesce().to_dense()):
        with pytest.raises((IndexError, RuntimeError)):
            use(make())


# --- making and converting ----------------------------------------------------------------------------------------------------
def test_constructors():
    for make in (
        lambda lib: lib.sparse_coo_tensor([[0, 1], [1, 0]], [1.0, 2.0]),
        lambda lib: lib.sparse_coo_tensor([[0, 1]], [[1.0, 2.0], [3.0, 4.0]], (3, 2)),
        lambda lib: lib.sparse_coo_tensor((2, 3)),
        lambda lib: lib.sparse_coo_tensor(size=(2, 3), dtype=lib.float64),
        lambda lib: lib.sparse_coo_tensor(lib.tensor([[1, 1]]), lib.tensor([1, 2]), (2,)),
        lambda lib: lib.sparse_csr_tensor([0, 1, 3], [0, 0, 1], [1.0, 2.0, 3.0]),
        lambda lib: lib.sparse_csc_tensor([0, 1, 3], [0, 0, 1], [1.0, 2.0, 3.0], (2, 2)),
        lambda lib: lib.sparse_compressed_tensor([0, 1, 3], [0, 0, 1], [1.0, 2.0, 3.0], (2, 2), layout=lib.sparse_csr),
        lambda lib: lib.sparse.spdiags(lib.arange(9.0).reshape(3, 3), lib.tensor([0, -1, 2]), (3, 4)),
    ):
        same(make(mg), make(torch))
        same(make(mg).to_dense(), make(torch).to_dense())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "complex64"])
def test_conversions(dtype):
    a = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 3], [4, 5, 0]]).astype(dtype)
    ours, theirs = mg.tensor(a), torch.tensor(a)
    for convert in (
        lambda t, lib: t.to_sparse(),
        lambda t, lib: t.to_sparse(1) if t.dtype != lib.bool else t.to_sparse(),
        lambda t, lib: t.to_sparse_csr(),
        lambda t, lib: t.to_sparse_csc(),
        lambda t, lib: t.to_sparse(layout=lib.sparse_csr).to_sparse(),
        lambda t, lib: t.to_sparse_csr().to_sparse_csc(),
        lambda t, lib: t.to_sparse_csc().to_sparse(),
        lambda t, lib: t.to_sparse_csc().to_sparse_csr(),
        lambda t, lib: t.to_sparse_csr().to_dense(),
        lambda t, lib: t.to_sparse_csr().t(),
        lambda t, lib: t.to_sparse().to(lib.complex128),
    ):
        same(convert(ours, mg), convert(theirs, torch))
        same(convert(ours, mg).to_dense(), convert(theirs, torch).to_dense())


@pytest.mark.parametrize(
    "make",
    [
        coo,
        lambda lib: coo(lib, dtype=lib.float64),
        lambda lib: coo(lib, requires_grad=True),
        lambda lib: coo(lib, True).to_sparse_csr(),
        lambda lib: coo(lib, True, dtype=lib.float64).to_sparse_csc(),
        lambda lib: lib.sparse_coo_tensor((2, 3)),
        lambda lib: lib.ones(2, 2, 2).to_sparse(1),
        lambda lib: lib.sparse_coo_tensor([[0, 1], [1, 0]], lib.tensor([1, 2]), (2, 2)),
        lambda lib: lib.eye(300).to_sparse(),
    ],
)
def test_text(make):
    assert repr(make(mg)) == repr(make(torch)).replace("torch.", "minigrad.")


def test_copies_pickles_modules():
    for x in (coo(mg), coo(mg, True).to_sparse_csr(), coo(mg, requires_grad=True)):
        for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.clone(), copy.copy(x)):
            assert y.layout is x.layout and y.requires_grad == x.requires_grad and mg.equal(y.to_dense(), x.to_dense())
    module = mg.nn.Module()
    module.register_buffer("adjacency", coo(mg, True))
    other = mg.nn.Module()
    other.register_buffer("adjacency", mg.sparse_coo_tensor(size=(4, 3)))
    other.load_state_dict(module.state_dict())
    assert mg.equal(other.adjacency.to_dense(), module.adjacency.to_dense())
    assert module.double().adjacency.dtype == mg.float64


# --- arithmetic ---------------------------------------------------------------------------------------------------------------
CALLS = {
    "mm": lambda lib, x: lib.sparse.mm(x, dense(lib, 3, 5)),
    "matmul": lambda lib, x: x @ dense(lib, 3, 5),
    "torch.mm": lambda lib, x: lib.mm(x, dense(lib, 3, 5)),
    "method mm": lambda lib, x: x.mm(dense(lib, 3, 5)),
    "dense @ sparse": lambda lib, x: dense(lib, 2, 4) @ x,
    "linear": lambda lib, x: lib.nn.functional.linear(x, dense(lib, 2, 3), dense(lib, 2)),
    "mv": lambda lib, x: lib.mv(x, dense(lib, 3)),
    "matvec": lambda lib, x: x @ dense(lib, 3),
    "sparse @ sparse": lambda lib, x: lib.sparse.mm(x, x.t().coalesce()) if x.is_sparse else x @ x.to_dense().t(),
    "addmm": lambda lib, x: lib.sparse.addmm(dense(lib, 4, 2), x, dense(lib, 3, 2), beta=2, alpha=3),
    "torch.addmm": lambda lib, x: lib.addmm(dense(lib, 4, 2), x, dense(lib, 3, 2)),
    "add": lambda lib, x: x + x * 2,
    "add alpha": lambda lib, x: lib.add(x, x, alpha=3),
    "sub": lambda lib, x: x - x * 0.5,
    "dense + sparse": lambda lib, x: dense(lib, 4, 3) + x,
    "neg": lambda lib, x: -x,
    "mul number": lambda lib, x: 2 * x,
    "mul 0-d": lambda lib, x: x * lib.tensor(3.0),
    "div number": lambda lib, x: x / 2,
    "mul sparse": lambda lib, x: x.to_sparse().coalesce() * x.to_sparse().coalesce(),
    "sin": lambda lib, x: x.sin(),
    "sqrt abs": lambda lib, x: lib.sqrt(lib.abs(x)),
    "relu": lambda lib, x: lib.relu(x),
    "double": lambda lib, x: x.double(),
    "to": lambda lib, x: x.to(lib.float64),
    "sum": lambda lib, x: x.sum(),
    "t": lambda lib, x: x.t(),
    "transpose": lambda lib, x: x.transpose(0, 1),
}
COO_CALLS = {
    "mul dense": lambda lib, x: x * dense(lib, 4, 3),
    "dense * sparse": lambda lib, x: dense(lib, 4, 3) * x.coalesce(),
    "pow": lambda lib, x: x**2,
    "sum 0": lambda lib, x: lib.sparse.sum(x, 0),
    "sum 1": lambda lib, x: lib.sparse.sum(x, dim=1),
    "sum all": lambda lib, x: lib.sparse.sum(x),
    "softmax": lambda lib, x: lib.sparse.softmax(x, 1),
    "log_softmax": lambda lib, x: lib.sparse.log_softmax(x, 0),
    "unsqueeze": lambda lib, x: x.unsqueeze(1),
    "cat": lambda lib, x: lib.cat([x, x], 1),
    "index_select": lambda lib, x: x.index_select(0, lib.tensor([1, 3, 1, 0])),
    "select": lambda lib, x: x[1],
    "permute": lambda lib, x: x.permute(1, 0),
    "sparse_mask": lambda lib, x: dense(lib, 4, 3).sparse_mask(x.coalesce()),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", ["coo", "coalesced", "csr"])
def test_calls(name, kind):
    def argument(lib):
        x = coo(lib, kind != "coo")
        return x.to_sparse_csr() if kind == "csr" else x

    try:
        want = CALLS[name](torch, argument(torch))
    except (RuntimeError, NotImplementedError):
        pytest.skip("PyTorch has no such call")
    same(CALLS[name](mg, argument(mg)), want)


@pytest.mark.parametrize("name", COO_CALLS)
@pytest.mark.parametrize("coalesced", [True, False])
def test_coo_calls(name, coalesced):
    same(COO_CALLS[name](mg, coo(mg, coalesced)), COO_CALLS[name](torch, coo(torch, coalesced)))


def test_batches_reductions_and_sampling():
    a = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    a[a < 0.3] = 0
    b = np.random.default_rng(1).normal(size=(2, 4, 5)).astype(np.float32)
    same(mg.bmm(mg.tensor(a).to_sparse(), mg.tensor(b)), torch.bmm(torch.tensor(a).to_sparse(), torch.tensor(b)))
    for reduce in ("sum", "mean", "amax", "amin"):
        ours = mg.sparse.mm(coo(mg, True).to_sparse_csr(), dense(mg, 3, 2), reduce)
        same(ours, torch.sparse.mm(coo(torch, True).to_sparse_csr(), dense(torch, 3, 2), reduce))
    pattern = coo(mg, True).to_sparse_csr()
    got = mg.sparse.sampled_addmm(pattern, dense(mg, 4, 2), dense(mg, 2, 3), beta=0.5, alpha=2)
    want = (0.5 * pattern.to_dense() + 2 * dense(mg, 4, 2) @ dense(mg, 2, 3)) * (pattern.to_dense() != 0)
    np.testing.assert_allclose(got.to_dense().numpy(), want.numpy(), rtol=1e-5)


def test_in_place():
    for lib in LIBS:
        d = lib.ones(4, 3)
        d.add_(coo(lib), alpha=2)
        x = coo(lib, True)
        x.mul_(3)
        x.div_(2)
        if lib is mg:
            got = d, x
    same(got[0], d), same(got[1], x)
    got[1].zero_()
    assert got[1]._nnz() == 0
