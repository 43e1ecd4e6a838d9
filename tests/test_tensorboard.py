"""SummaryWriter: the files are decoded here, compared with torch's writer, and read by the tensorboard package where it is installed."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.utils.tensorboard import SummaryWriter, proto, read_records
from minigrad.utils.tensorboard.media import encode_png
from minigrad.utils.tensorboard.record import crc32c, framed


def events(folder):
    """(step, [fields of each Value]) of every event file below a folder."""
    found = []
    for path in sorted(Path(folder).rglob("events.out.tfevents.*")):
        for record in read_records(path):
            fields = dict(proto.decode(record))
            for _, value in proto.decode(fields.get(5, b"")):
                found.append((fields.get(2, 0), proto.decode(value)))
    return found


def contents(writer_class, folder, lib):
    """Writes one of everything; the bytes of the summaries."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=1000).astype(np.float32)
    with writer_class(str(folder)) as w:
        w.add_scalar("loss/train", 0.25, 3)
        w.add_scalar("zero", lib.tensor(0.0), 0)
        w.add_scalar("new", 0.5, 1, new_style=True)
        w.add_scalars("many", {"a": 1, "b": 2.5}, 4)
        w.add_histogram("weights", lib.from_numpy(values), 5)
        w.add_histogram("bins", values, 5, bins=10)
        w.add_histogram("max", values, 5, bins="auto", max_bins=7)
        w.add_histogram_raw("raw", 0, 1, 3, 1.5, 1, [0.5, 1], [1, 2], 6)
        w.add_text("note", "hello **world**", 7)
        w.add_pr_curve("pr", lib.from_numpy(rng.integers(0, 2, 100)), lib.from_numpy(rng.random(100)), 8)
        w.add_image("img", lib.from_numpy(rng.random((3, 5, 4)).astype(np.float32)), 9)
    return [(step, [(k, v) for k, v in fields]) for step, fields in events(folder)]


def test_own_decoder(tmp_path):
    found = {dict(fields)[1].decode(): (step, dict(fields)) for step, fields in contents(SummaryWriter, tmp_path / "x", mg)}
    assert found["loss/train"][0] == 3 and found["loss/train"][1][2] == 0.25
    assert found["zero"][1][2] == 0.0
    step, fields = found["weights"]
    histogram = dict(proto.decode(fields[5]))
    limits = struct.unpack(f"<{len(histogram[6]) // 8}d", histogram[6])
    counts = struct.unpack(f"<{len(histogram[7]) // 8}d", histogram[7])
    assert step == 5 and histogram[3] == 1000 and sum(counts) == 1000 and len(limits) == len(counts) and list(limits) == sorted(limits)
    assert b"hello **world**" in found["note/text_summary"][1][8] and b"text" in found["note/text_summary"][1][9]
    folders = {path.parent.name for path in (tmp_path / "x").rglob("events*")}
    assert folders == {"x", "many_a", "many_b"}


def test_against_torch(tmp_path):
    torch = pytest.importorskip("torch")
    theirs_module = pytest.importorskip("torch.utils.tensorboard", reason="torch's SummaryWriter needs the tensorboard package")
    ours = contents(SummaryWriter, tmp_path / "ours", mg)
    theirs = contents(theirs_module.SummaryWriter, tmp_path / "theirs", torch)
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    for (_, mine), (_, other) in zip(ours, theirs, strict=True):
        tag = dict(mine)[1]
        if tag == b"img":  # two PNG encoders
            mine, other = (dict(proto.decode(dict(fields)[4])) for fields in (mine, other))
            assert {k: mine[k] for k in (1, 2, 3)} == {k: other[k] for k in (1, 2, 3)}
        else:
            kinds = [{k: v for k, v in fields if k != 9} for fields in (mine, other)]
            assert kinds[0] == kinds[1], tag


def test_read_by_tensorboard(tmp_path):
    name = "tensorboard.backend.event_processing.event_accumulator"
    module = pytest.importorskip(name, reason="the tensorboard package is not installed")
    contents(SummaryWriter, tmp_path, mg)
    with SummaryWriter(tmp_path) as w:
        w.add_hparams({"lr": 0.1, "bs": 4, "on": True, "name": "x"}, {"acc": 0.9}, {"lr": [0.1, 0.2]}, run_name="h")
    reader = module.EventAccumulator(str(tmp_path), size_guidance={"images": 0, "histograms": 0})
    reader.Reload()
    assert [(e.step, e.value) for e in reader.Scalars("loss/train")] == [(3, 0.25)]
    assert reader.Histograms("weights")[0].histogram_value.num == 1000
    assert reader.Images("img")[0].width == 4
    assert b"hello" in reader.Tensors("note/text_summary")[0].tensor_proto.string_val[0]
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    reader = module.EventAccumulator(str(tmp_path / "h"))
    reader.Reload()
    data = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin.HParamsPluginData.FromString(data).session_start_info
    assert {k: v.ListFields()[0][1] for k, v in start.hparams.items()} == {"lr": 0.1, "bs": 4.0, "on": True, "name": "x"}
    experiment = plugin.HParamsPluginData.FromString(reader.SummaryMetadata("_hparams_/experiment").plugin_data.content).experiment
    assert [m.name.tag for m in experiment.metric_infos] == ["acc"]
    lr = next(info for info in experiment.hparam_infos if info.name == "lr")
    assert [v.number_value for v in lr.domain_discrete.values] == [0.1, 0.2] and lr.type == 3


def test_read_by_tensorflow(tmp_path):
    pytest.importorskip("tensorflow")
    summary_iterator = pytest.importorskip("tensorflow.python.summary.summary_iterator").summary_iterator
    contents(SummaryWriter, tmp_path, mg)
    found = {}
    for path in tmp_path.glob("events*"):
        for event in summary_iterator(str(path)):
            for value in event.summary.value:
                found[value.tag] = (event.step, value)
    assert found["loss/train"][0] == 3 and found["loss/train"][1].simple_value == 0.25
    assert found["weights"][1].histo.num == 1000 and found["img"][1].image.height == 5
    assert found["note/text_summary"][1].tensor.string_val[0] == b"hello **world**"


def test_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(1)
    for channels in (1, 2, 3, 4):
        pixels = rng.integers(0, 256, (5, 7, channels), dtype=np.uint8)
        back = np.asarray(image.open(io.BytesIO(encode_png(pixels))))
        np.testing.assert_array_equal(back.reshape(pixels.shape), pixels)
    with SummaryWriter(tmp_path) as w:
        w.add_image("grey", mg.ones(1, 4, 6) * 0.5)
        w.add_image("hw", np.full((4, 6), 7, np.uint8), dataformats="HW")
        w.add_images("batch", mg.rand(10, 3, 4, 6))
        with pytest.raises(ValueError, match="format"):
            w.add_image("bad", mg.rand(4, 4))
    shapes = {}
    for _, fields in events(tmp_path):
        fields = dict(fields)
        shapes[fields[1].decode()] = np.asarray(image.open(io.BytesIO(dict(proto.decode(fields[4]))[4])))
    assert shapes["grey"].shape == (4, 6, 3) and set(shapes["grey"].flatten()) == {127} and set(shapes["hw"].flatten()) == {7}
    assert shapes["batch"].shape == (8, 48, 3)


def test_figures_and_sounds(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(2, 1), dpi=50)
    axes.plot([1, 2])
    with SummaryWriter(tmp_path) as w:
        w.add_figure("plot", figure, 1)
        w.add_audio("sound", mg.zeros(1, 100), sample_rate=8000)
    assert not pyplot.fignum_exists(figure.number)
    found = {dict(fields)[1]: dict(fields) for _, fields in events(tmp_path)}
    assert dict(proto.decode(found[b"plot"][4]))[1] == 50
    assert dict(proto.decode(found[b"sound"][6]))[3] == 100


class Block(mg.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = mg.nn.Linear(4, 4), mg.nn.Sequential(mg.nn.ReLU(), mg.nn.Linear(4, 2))

    def forward(self, x):
        y = self.b(self.a(x) + x)
        return y, y.sum()


def test_graphs(tmp_path, capsys):
    with SummaryWriter(tmp_path) as w:
        w.add_graph(Block(), mg.ones(3, 4), verbose=True)
    printed = capsys.readouterr().out
    assert "Block/a/weight" in printed
    records = [dict(proto.decode(record)) for record in read_records(next(tmp_path.iterdir()))]
    graph = next(fields[4] for fields in records if 4 in fields)
    nodes = {}
    for field, raw in proto.decode(graph):
        if field == 1:
            fields = proto.decode(raw)
            nodes[dict(fields)[1].decode()] = (dict(fields)[2].decode(), [v.decode() for k, v in fields if k == 3])
    assert {"Block/a/weight", "Block/a/bias", "Block/b/1/weight", "input/0", "output/0", "output/1"} <= set(nodes)
    assert nodes["Block/Add"][1][1] == "input/0" and nodes["Block/Add"][1][0].startswith("Block/a/")
    assert nodes["Block/b/0/Relu"][1] == ["Block/Add"] and nodes["output/1"][1] == ["Block/Sum"]
    assert all(source in nodes for _, sources in nodes.values() for source in sources)
    proto_class = pytest.importorskip("tensorboard.compat.proto.graph_pb2", reason="the tensorboard package is not installed")
    parsed = proto_class.GraphDef.FromString(graph)
    assert len(parsed.node) == len(nodes)
    weight = next(node for node in parsed.node if node.name == "Block/b/1/weight")
    assert [d.size for d in weight.attr["_output_shapes"].list.shape[0].dim] == [2, 4]


def test_files_and_life(tmp_path, monkeypatch):
    w = SummaryWriter(tmp_path / "run", filename_suffix=".end", purge_step=5)
    w.add_scalar("a", 1, 1)
    w.flush()
    path = next((tmp_path / "run").iterdir())
    assert path.name.endswith(".end") and len(list(read_records(path))) == 4
    assert dict(proto.decode(next(read_records(path))))[3] == b"brain.Event:2"
    w.close()
    w.close()
    w.add_scalar("a", 2, 2)  # opens a new file
    w.close()
    assert len(list((tmp_path / "run").iterdir())) == 2
    data = path.read_bytes()
    path.write_bytes(data[:-20] + b"x" + data[-19:])
    with pytest.raises(RuntimeError, match="damaged"):
        list(read_records(path))
    path.write_bytes(data[:-3])
    assert len(list(read_records(path))) == 3
    monkeypatch.chdir(tmp_path)
    with SummaryWriter(comment="_c") as w:
        assert w.get_logdir().startswith("runs") and w.get_logdir().endswith("_c")
        for call in (lambda: w.add_mesh(None), lambda: w.add_embedding(None), lambda: w.add_video("a", None)):
            with pytest.raises(NotImplementedError, match="SummaryWriter"):
                call()
        with pytest.raises(TypeError, match="dictionary"):
            w.add_hparams([], {})
        with pytest.raises(ValueError, match="no element"):
            w.add_histogram("h", mg.zeros(0))
        with pytest.raises(AssertionError, match="0D"):
            w.add_scalar("s", mg.zeros(2))


def test_checksums():
    """Values of RFC 3720, B.4, and one record by hand."""
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(b"\xff" * 32) == 0x62A8AB43 and crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert len(framed(b"abc")) == 19
