"""Sparse tensors in programs: gradients, embeddings, custom Functions, function transforms, saving. Values: test_sparse.py."""

import numpy as np
import pytest
from test_sparse import COLUMNS, LIBS, ROWS, VALUES, coo, dense, same

import minigrad as mg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


# --- gradients ----------------------------------------------------------------------------------------------------------------
LOSSES = {
    "mm": lambda lib, x, d: lib.sparse.mm(x, d).pow(2).sum(),
    "matmul": lambda lib, x, d: (x @ d).sin().sum(),
    "addmm": lambda lib, x, d: lib.sparse.addmm(lib.ones(4, 2), x, d).pow(2).sum(),
    "coalesced": lambda lib, x, d: (x.coalesce().values() ** 2).sum() + d.sum(),
    "to_dense": lambda lib, x, d: (x.to_dense() @ d).pow(2).sum(),
    "sum": lambda lib, x, d: lib.sparse.sum(x) * d.sum(),
    "scaled": lambda lib, x, d: lib.sparse.mm(x * 2, d).sum(),
    "transposed": lambda lib, x, d: lib.sparse.mm(x.t(), lib.sparse.mm(x, d)).sum(),
    "softmax": lambda lib, x, d: lib.sparse.mm(lib.sparse.softmax(x, 1), d).pow(2).sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_values_and_dense(name):
    grads = []
    for lib in LIBS:
        values = lib.tensor(VALUES, requires_grad=True)
        d = dense(lib, 3, 2, requires_grad=True)
        x = lib.sparse_coo_tensor(lib.tensor([ROWS, COLUMNS]), values, (4, 3))
        assert x.requires_grad and not x.is_leaf
        LOSSES[name](lib, x, d).backward()
        grads.append((values.grad, d.grad))
    for a, b in zip(*grads):
        same(a, b, 1e-4)


@pytest.mark.parametrize("name", ["mm", "matmul", "addmm", "sum"])
def test_gradient_of_a_sparse_leaf(name):
    grads = []
    for lib in LIBS:
        x = coo(lib, True).detach().requires_grad_()
        d = dense(lib, 3, 2, requires_grad=True)
        assert x.is_leaf and x.requires_grad and x.grad is None
        LOSSES[name](lib, x, d).backward()
        grads.append((x.grad, d.grad))
    (ours, ours_dense), (theirs, theirs_dense) = grads
    want = theirs.to_dense() * (coo(torch).to_dense() != 0)  # PyTorch's may be dense, or have more entries than there are
    np.testing.assert_allclose(ours.to_dense().numpy(), want.numpy(), rtol=1e-4)
    same(ours_dense, theirs_dense, 1e-4)
    assert grads[0][0].is_sparse


def test_graph_convolution_trains():
    """Two layers of a graph convolution on a ring, against PyTorch."""
    losses = {}
    for lib in LIBS:
        n = 12
        rows = lib.arange(n).repeat(2)
        columns = lib.cat([(lib.arange(n) + 1) % n, (lib.arange(n) - 1) % n])
        adjacency = lib.sparse_coo_tensor(lib.stack([rows, columns]), lib.full((2 * n,), 0.5), (n, n)).coalesce()
        w1, w2 = dense(lib, 4, 8, requires_grad=True), dense(lib, 8, 2, seed=1, requires_grad=True)
        x, y = dense(lib, n, 4, seed=2), lib.arange(n) % 2
        optimizer = lib.optim.SGD([w1, w2], lr=0.1)
        history = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = lib.nn.functional.cross_entropy(lib.sparse.mm(adjacency, lib.relu(adjacency @ (x @ w1)) @ w2), y)
            loss.backward()
            optimizer.step()
            history.append(float(loss.detach()))
        losses[lib] = history
    np.testing.assert_allclose(losses[mg], losses[torch], rtol=1e-4)


# --- programs as they are written -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("optimizer", ["SparseAdam", "SGD", "Adagrad"])
def test_embedding_with_sparse_gradients(optimizer):
    ends = []
    for lib in LIBS:
        layer = lib.nn.Embedding(10, 3, padding_idx=2, sparse=True)
        with lib.no_grad():
            layer.weight.copy_(lib.arange(30.0).reshape(10, 3) / 30)
        step = getattr(lib.optim, optimizer)(layer.parameters(), lr=0.1)
        for _ in range(3):
            step.zero_grad()
            (layer(lib.tensor([[1, 2, 1], [4, 4, 7]])) ** 2).sum().backward()
            (layer(lib.tensor([9])) ** 2).sum().backward()  # accumulates
            assert layer.weight.grad.is_sparse and layer.weight.grad.coalesce().indices().tolist() == [[1, 4, 7, 9]]
            step.step()
        ends.append(layer.weight)
    np.testing.assert_allclose(ends[0].detach().numpy(), ends[1].detach().numpy(), rtol=1e-5)


def test_tied_sparse_and_dense_gradients():
    grads = []
    for lib in LIBS:
        weight = lib.ones(4, 2, requires_grad=True)
        found = lib.nn.functional.embedding(lib.tensor([0, 3, 3]), weight, sparse=True)
        (found @ weight.t()).pow(2).sum().backward()
        grads.append(weight.grad.to_dense())
    np.testing.assert_allclose(grads[0].numpy(), grads[1].numpy(), rtol=1e-6)


def test_a_function_that_saves_a_sparse_matrix():
    """The product of SpGAT implementations: a custom Function with a sparse matrix in save_for_backward."""
    results = []
    for lib in LIBS:

        class Product(lib.autograd.Function):
            @staticmethod
            def forward(ctx, indices, values, shape, b):
                a = lib.sparse_coo_tensor(indices, values, shape)  # noqa: B023
                ctx.save_for_backward(a, b)
                ctx.n = shape[1]
                return lib.matmul(a, b)  # noqa: B023

            @staticmethod
            def backward(ctx, g):
                a, b = ctx.saved_tensors
                places = a._indices()[0, :] * ctx.n + a._indices()[1, :]
                return None, g.matmul(b.t()).reshape(-1)[places], None, a.t().matmul(g)

        values, b = lib.tensor(VALUES, requires_grad=True), dense(lib, 3, 2, requires_grad=True)
        out = Product.apply(lib.tensor([ROWS, COLUMNS]), values, (4, 3), b)
        out.pow(2).sum().backward()
        results.append((values.grad, b.grad))
    for a, b in zip(*results):
        same(a, b, 1e-4)


def test_older_names_and_norms():
    for lib in LIBS:
        x = lib.sparse.FloatTensor(lib.tensor([[0, 1], [1, 0]]), lib.tensor([3.0, 4.0]), lib.Size([2, 2]))
        assert x.is_sparse and x.type().endswith("sparse.FloatTensor")
        assert lib.spmm(x, lib.eye(2)).tolist() == [[0, 3], [4, 0]]
        assert float(x.norm()) == 5.0 and float(lib.norm(x)) == 5.0
        degree = lib.sparse.sum(x, dim=1).to_dense()
        scale = lib.sparse_coo_tensor(lib.arange(2).repeat(2, 1), degree.pow(-0.5), (2, 2))
        again = lib.sparse.mm(lib.sparse.mm(scale, x), scale).to_dense()
        np.testing.assert_allclose(again.numpy(), [[0, 3 / 12**0.5], [4 / 12**0.5, 0]], rtol=1e-6)


def test_embedding_bag_with_sparse_gradients():
    for mode in ("sum", "mean"):
        grads = []
        for lib in LIBS:
            layer = lib.nn.EmbeddingBag(6, 2, mode=mode, sparse=True)
            with lib.no_grad():
                layer.weight.copy_(lib.arange(12.0).reshape(6, 2))
            layer(lib.tensor([1, 2, 4, 1]), lib.tensor([0, 3])).pow(2).sum().backward()
            assert layer.weight.grad.is_sparse
            grads.append(layer.weight.grad.to_dense())
        np.testing.assert_allclose(grads[0].numpy(), grads[1].numpy(), rtol=1e-6)


def test_inside_vmap_and_grad():
    x = coo(mg, True)
    batch = dense(mg, 5, 3)
    same(mg.vmap(lambda v: x @ v)(batch), torch.tensor((batch @ x.to_dense().t()).numpy()))
    got = mg.func.grad(lambda v: (x @ v).sum())(dense(mg, 3))
    np.testing.assert_allclose(got.numpy(), x.to_dense().sum(0).numpy(), rtol=1e-6)


def test_saving_and_loading():
    import io

    file = io.BytesIO()
    mg.save({"a": coo(mg, True), "b": coo(mg, True).to_sparse_csr()}, file)
    file.seek(0)
    back = mg.load(file)
    assert back["a"].is_sparse and back["b"].layout is mg.sparse_csr and mg.equal(back["b"].to_dense(), coo(mg).to_dense())
