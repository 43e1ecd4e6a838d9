"""SummaryWriter and FileWriter, with PyTorch's signatures."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np

from . import media, proto
from .hparams import hparams_summaries
from .record import EventWriter

__all__ = ["FileWriter", "SummaryWriter"]


class FileWriter:
    """Writes summaries to one event file.

    Args:
        log_dir: folder of the file.
        max_queue, flush_secs, filename_suffix: see `SummaryWriter`.
    """

    def __init__(self, log_dir: Any, max_queue: int = 10, flush_secs: float = 120, filename_suffix: str = "") -> None:
        self.log_dir = str(log_dir)
        self.event_writer = EventWriter(self.log_dir, max_queue, flush_secs, filename_suffix)

    def get_logdir(self) -> str:
        """The folder."""
        return self.log_dir

    def add_event(self, event: bytes, step: int | None = None, walltime: float | None = None) -> None:
        """Queue an encoded event (the other arguments are accepted: they are inside of it)."""
        self.event_writer.add(event)

    def add_summary(self, summary: bytes, global_step: int | None = None, walltime: float | None = None) -> None:
        """Queue an encoded Summary."""
        when = time.time() if walltime is None else float(walltime)
        step = None if global_step is None else int(global_step)
        self.event_writer.add(proto.event(when, step, summary=summary))

    def flush(self) -> None:
        """Wait until everything is in the file."""
        self.event_writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.event_writer.close()

    def reopen(self) -> None:
        """Go on in a new file, after `close`."""
        if self.event_writer.file.closed:
            self.event_writer = EventWriter(self.log_dir)


class SummaryWriter:
    """Writes scalars, histograms, pictures, text and hyperparameters for TensorBoard.

    Args:
        log_dir: folder of the run; `runs/<date>_<host><comment>` when omitted.
        comment: end of the default folder's name.
        purge_step: after a crash: TensorBoard forgets what earlier files say from this step on.
        max_queue: events that may wait for the disk.
        flush_secs: longest time until they are written.
        filename_suffix: end of the event file's name.

    Example:
        >>> import tempfile
        >>> with mg.utils.tensorboard.SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.add_scalar("loss", 0.5, global_step=1)
    """

    def __init__(
        self, log_dir: Any = None, comment: str = "", purge_step: int | None = None, max_queue: int = 10, flush_secs: float = 120,
        filename_suffix: str = "",
    ) -> None:  # fmt: skip
        if not log_dir:
            log_dir = os.path.join("runs", datetime.now().strftime("%b%d_%H-%M-%S") + "_" + socket.gethostname() + comment)
        self.log_dir = str(log_dir)
        self.purge_step = purge_step
        self.max_queue, self.flush_secs, self.filename_suffix = max_queue, flush_secs, filename_suffix
        self.file_writer: FileWriter | None = None
        self.all_writers: dict[str, FileWriter] | None = None
        self.default_bins = media.default_edges().tolist()
        self._get_file_writer()

    def _get_file_writer(self) -> FileWriter:
        if self.all_writers is None or self.file_writer is None:
            self.file_writer = FileWriter(self.log_dir, self.max_queue, self.flush_secs, self.filename_suffix)
            self.all_writers = {self.file_writer.get_logdir(): self.file_writer}
            if self.purge_step is not None:
                now, start = time.time(), proto.block(7, proto.number(1, 1))  # SessionLog.START
                self.file_writer.add_event(proto.event(now, self.purge_step, file_version="brain.Event:2"))
                self.file_writer.add_event(proto.event(now, self.purge_step) + start)
                self.purge_step = None
        return self.file_writer

    def get_logdir(self) -> str:
        """The folder of the run."""
        return self.log_dir

    def _add(self, tag: str, content: bytes, step: int | None, walltime: float | None, metadata: bytes | None = None) -> None:
        self._get_file_writer().add_summary(proto.value(tag, content, metadata), step, walltime)

    def add_scalar(
        self, tag: str, scalar_value: Any, global_step: int | None = None, walltime: float | None = None, new_style: bool = False,
        double_precision: bool = False,
    ) -> None:  # fmt: skip
        """One number.

        Args:
            scalar_value: number, or tensor or array of one element.
            new_style: write it as a tensor of the scalars plugin.
            double_precision: accepted; the file keeps single precision.
        """
        number = _number(scalar_value)
        if new_style:
            self._add(tag, proto.float_tensor([number], ()), global_step, walltime, proto.plugin("scalars"))
        else:
            self._add(tag, proto.scalar(number), global_step, walltime)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: dict[str, Any], global_step: int | None = None, walltime: float | None = None
    ) -> None:  # fmt: skip
        """Several numbers in one diagram: one sub-folder per curve."""
        when = time.time() if walltime is None else walltime
        self._get_file_writer()
        for tag, value in tag_scalar_dict.items():
            folder = os.path.join(self.log_dir, main_tag.replace("/", "_") + "_" + tag)
            writer = self.all_writers.get(folder)  # type: ignore[union-attr]
            if writer is None:
                writer = FileWriter(folder, self.max_queue, self.flush_secs, self.filename_suffix)
                self.all_writers[folder] = writer  # type: ignore[index]
            writer.add_summary(proto.value(main_tag, proto.scalar(_number(value))), global_step, when)

    def add_tensor(self, tag: str, tensor: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        """A tensor of floats, for the scalars plugin's tensor form."""
        array = media.make_np(tensor)
        self._add(tag, proto.float_tensor(array.reshape(-1).astype(float).tolist(), array.shape), global_step, walltime)

    def add_histogram(
        self, tag: str, values: Any, global_step: int | None = None, bins: Any = "tensorflow", walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:  # fmt: skip
        """The distribution of some values.

        Args:
            bins: 'tensorflow' (powers of 1.1), or what `numpy.histogram` takes.
            max_bins: neighbouring bins are joined until there are about this many.
        """
        edges = self.default_bins if isinstance(bins, str) and bins == "tensorflow" else bins
        self._add(tag, proto.histogram(*media.histogram_fields(media.make_np(values), edges, max_bins)), global_step, walltime)

    def add_histogram_raw(
        self, tag: str, min: float, max: float, num: float, sum: float, sum_squares: float, bucket_limits: Any, bucket_counts: Any,  # noqa: A002
        global_step: int | None = None, walltime: float | None = None,
    ) -> None:  # fmt: skip
        """A histogram that is counted already: upper limits of the buckets, and how many values are in each."""
        if len(bucket_limits) != len(bucket_counts):
            raise ValueError("len(bucket_limits) != len(bucket_counts), see the document.")
        fields = (float(min), float(max), float(num), float(sum), float(sum_squares))
        self._add(tag, proto.histogram(*fields, map(float, bucket_limits), map(float, bucket_counts)), global_step, walltime)

    def add_image(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None, dataformats: str = "CHW"
    ) -> None:  # fmt: skip
        """One picture: floats in [0, 1] or bytes; `dataformats` names the dimensions (CHW, HWC, HW …)."""
        self._add(tag, proto.image(*media.picture_bytes(media.make_np(img_tensor), dataformats)), global_step, walltime)

    def add_images(
        self, tag: str, img_tensor: Any, global_step: int | None = None, walltime: float | None = None, dataformats: str = "NCHW"
    ) -> None:  # fmt: skip
        """A batch of pictures, side by side."""
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_figure(self, tag: str, figure: Any, global_step: int | None = None, close: bool = True, walltime: float | None = None) -> None:
        """A matplotlib figure, or a list of them; closed afterwards unless `close` is False."""
        pixels = media.figure_pixels(figure, close)
        self.add_image(tag, pixels, global_step, walltime, "NCHW" if pixels.ndim == 4 else "CHW")

    def add_audio(
        self, tag: str, snd_tensor: Any, global_step: int | None = None, sample_rate: int = 44100, walltime: float | None = None
    ) -> None:  # fmt: skip
        """A sound of samples in [-1, 1]."""
        frames, data = media.encode_wav(media.make_np(snd_tensor), sample_rate)
        self._add(tag, proto.audio(sample_rate, 1, frames, data), global_step, walltime)

    def add_text(self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None) -> None:
        """A text; TensorBoard shows it as Markdown."""
        self._add(tag + "/text_summary", proto.string_tensor(str(text_string)), global_step, walltime, proto.plugin("text"))

    def add_pr_curve(
        self, tag: str, labels: Any, predictions: Any, global_step: int | None = None, num_thresholds: int = 127, weights: Any = None,
        walltime: float | None = None,
    ) -> None:  # fmt: skip
        """Precision against recall of a binary classifier.

        Args:
            labels: truth, 0 or 1. predictions: probability of 1. weights: per element.
        """
        truth = media.make_np(labels).reshape(-1).astype(bool)
        scores = media.make_np(predictions).reshape(-1)
        share = np.ones(len(truth)) if weights is None else media.make_np(weights).reshape(-1)
        count = min(num_thresholds, 127)
        rows = _pr_rows(truth, scores, share, count)
        content = proto.number(2, count)
        self._add(tag, proto.float_tensor(rows.reshape(-1).tolist(), rows.shape), global_step, walltime, proto.plugin("pr_curves", content))

    def add_hparams(
        self, hparam_dict: dict[str, Any], metric_dict: dict[str, Any], hparam_domain_discrete: dict[str, list] | None = None,
        run_name: str | None = None, global_step: int | None = None,
    ) -> None:  # fmt: skip
        """Hyperparameters of this run and what they led to, for TensorBoard's table of runs.

        Args:
            hparam_dict: name to bool, number, text or None. metric_dict: name to number.
            hparam_domain_discrete: name to all the values that are tried.
            run_name: of the sub-folder; the time by default.
        """
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict should be dictionary.")
        summaries = hparams_summaries(hparam_dict, metric_dict, hparam_domain_discrete)
        folder = os.path.join(self._get_file_writer().get_logdir(), run_name or str(time.time()))
        with SummaryWriter(log_dir=folder) as writer:
            for summary in summaries:
                writer._get_file_writer().add_summary(summary, global_step)
            for tag, value in metric_dict.items():
                writer.add_scalar(tag, value, global_step)

    def add_graph(self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True) -> None:
        """The graph of a module, from one call of it: operations in the scopes of their modules, parameters and inputs as leaves.

        Args:
            model: the module.
            input_to_model: what to call it with, a tensor or a tuple of arguments.
            verbose: print the names of the graph's nodes.
            use_strict_trace: accepted.
        """
        from .graph import graph_of

        graph = graph_of(model, input_to_model)
        if verbose:
            for field, node in proto.decode(graph):
                if field == 1:
                    print(dict(proto.decode(node))[1].decode())
        self._get_file_writer().add_event(proto.event(time.time(), graph=graph))

    def flush(self) -> None:
        """Wait until everything is in the files."""
        for writer in (self.all_writers or {}).values():
            writer.flush()

    def close(self) -> None:
        """Close the files; writing again opens new ones."""
        if self.all_writers is None:
            return
        for writer in self.all_writers.values():
            writer.flush()
            writer.close()
        self.file_writer = self.all_writers = None

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def _pr_rows(truth: np.ndarray, scores: np.ndarray, share: np.ndarray, count: int) -> np.ndarray:
    """(6, count): true and false positives, true and false negatives, precision, recall, by rising threshold."""
    place = np.int32(np.floor(scores * (count - 1)))
    positive = np.histogram(place, bins=count, range=(0, count - 1), weights=share * truth)[0]
    negative = np.histogram(place, bins=count, range=(0, count - 1), weights=share * ~truth)[0]
    tp, fp = np.cumsum(positive[::-1])[::-1], np.cumsum(negative[::-1])[::-1]
    tn, fn = fp[0] - fp, tp[0] - tp
    return np.stack((tp, fp, tn, fn, tp / np.maximum(1e-7, tp + fp), tp / np.maximum(1e-7, tp + fn)))


def _number(value: Any) -> float:
    array = media.make_np(value)
    if array.size != 1:
        raise AssertionError(f"scalar should be 0D: got {array.size} elements")
    return float(array.reshape(-1)[0])


def _missing(name: str, remedy: str) -> Callable[..., None]:
    def method(self: SummaryWriter, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(f"SummaryWriter.{name} is not supported. {remedy}")

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Not supported. {remedy}"
    return method


for _name, _remedy in {
    "add_onnx_graph": "Try add_text.",
    "add_embedding": "Try safetensors files and the projector's own upload.",
    "add_video": "Try add_images of some frames.",
    "add_image_with_boxes": "Try add_figure.",
    "add_custom_scalars": "Try add_scalars.",
    "add_custom_scalars_multilinechart": "Try add_scalars.",
    "add_custom_scalars_marginchart": "Try add_scalars.",
    "add_mesh": "Try add_figure.",
}.items():
    setattr(SummaryWriter, _name, _missing(_name, _remedy))
