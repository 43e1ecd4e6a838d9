"""minigrad.hub: weights from files, file:// and a local HTTP server; models from a local hubconf.py."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.error import URLError

import pytest

import minigrad as mg
from minigrad import hub


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    before = dict(hub._chosen)
    hub.set_dir(tmp_path / "cache")
    yield tmp_path / "cache"
    hub._chosen.clear()
    hub._chosen.update(before)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    mg.save({"w": mg.arange(3.0)}, folder / "model.pt")
    return folder / "model.pt"


@pytest.fixture
def server(weights: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(weights.parent))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def check(state: dict[str, mg.Tensor]) -> None:
    assert state["w"].tolist() == [0, 1, 2]


def test_directory(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.get_dir() == str(cache)
    hub._chosen.clear()
    monkeypatch.setenv("TORCH_HOME", "/somewhere")
    assert hub.get_dir() == "/somewhere/hub"


def test_local_files(cache: Path, weights: Path) -> None:
    check(hub.load_state_dict_from_url(str(weights)))
    assert not (cache / "checkpoints").exists(), "a local path is read where it is"
    check(hub.load_state_dict_from_url(weights.as_uri()))
    assert (cache / "checkpoints" / "model.pt").exists()


def test_http(cache: Path, weights: Path, server: str) -> None:
    check(hub.load_state_dict_from_url(f"{server}/model.pt", progress=False, weights_only=True))
    weights.unlink()
    check(hub.load_state_dict_from_url(f"{server}/model.pt"))  # from the cache
    check(mg.utils.model_zoo.load_url(f"{server}/model.pt"))
    with pytest.raises(URLError):
        hub.load_state_dict_from_url(f"{server}/absent.pt")
    assert sorted(p.name for p in (cache / "checkpoints").iterdir()) == ["model.pt"], "nothing half-written stays"


def test_hashes(cache: Path, weights: Path, server: str) -> None:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.rename(weights.with_name(f"model-{digest[:8]}.pt"))
    check(hub.load_state_dict_from_url(f"{server}/model-{digest[:8]}.pt", check_hash=True))
    weights.with_name(f"model-{digest[:8]}.pt").rename(weights.with_name("model-01234567.pt"))
    with pytest.raises(RuntimeError, match="invalid hash"):
        hub.load_state_dict_from_url(f"{server}/model-01234567.pt", check_hash=True)
    assert not (cache / "checkpoints" / "model-01234567.pt").exists()


def test_unreachable_host(cache: Path) -> None:
    with pytest.raises(URLError):
        hub.load_state_dict_from_url("http://127.0.0.1:9/model.pt")


def test_entry_points(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text(
        "import minigrad\n\ndef tiny(width, scale=1):\n    'A tiny model.'\n    return minigrad.nn.Linear(width, scale)\n"
    )
    assert "tiny" in hub.list(str(tmp_path))
    assert hub.help(str(tmp_path), "tiny") == "A tiny model."
    assert tuple(hub.load(str(tmp_path), "tiny", 3, source="local", scale=2).weight.shape) == (2, 3)
    with pytest.raises(RuntimeError, match="absent"):
        hub.load(str(tmp_path), "absent", source="local")
    with pytest.raises(NotImplementedError, match="local"):
        hub.load("owner/repo", "model")
