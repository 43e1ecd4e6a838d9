"""Training loops of others: Lightning and accelerate, with DataLoader workers, checkpoints, schedules, clipping and metrics."""

from __future__ import annotations

import tempfile
from typing import Any

from cases import floats, ints, program


def _network() -> Any:
    """Two linear layers with fixed weights."""
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    with torch.no_grad():
        for k, parameter in enumerate(net.parameters()):
            parameter.copy_(0.3 * floats(*parameter.shape, seed=k))
    return net


def _data() -> Any:
    import torch

    return torch.utils.data.TensorDataset(floats(64, 6, seed=7), ints(3, 64, seed=8))


@program("accelerate", "psutil")
def accelerate_loop() -> Any:
    """The loop of accelerate's README: prepare, accumulate, clip, gather."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    net = _network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=40)
    loader = torch.utils.data.DataLoader(_data(), batch_size=8, num_workers=2)
    net, optimizer, loader, schedule = accelerator.prepare(net, optimizer, loader, schedule)
    losses = []
    for _ in range(2):
        for x, y in loader:
            with accelerator.accumulate(net):
                loss = torch.nn.functional.cross_entropy(net(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(net.parameters(), 0.5)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            losses.append(accelerator.gather(loss.detach()))
    return {
        "losses": losses,
        "weights": list(accelerator.unwrap_model(net).state_dict().values()),
        "lr": schedule.get_last_lr(),
    }


@program("pytorch_lightning", "lightning_utilities", "torchmetrics", "fsspec", "yaml")
def lightning_fit() -> Any:
    """Trainer.fit with validation, metrics, clipping, a schedule and a checkpoint that is loaded again."""
    import pytorch_lightning as pl
    import torch
    import torchmetrics

    class Classifier(pl.LightningModule):
        def __init__(self, width: int = 16) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net, self.accuracy = _network(), torchmetrics.Accuracy(task="multiclass", num_classes=3)
            self.losses: list = []

        def training_step(self, batch: Any, index: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
            self.log("loss", loss)
            self.losses.append(loss.detach())
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.accuracy(self.net(batch[0]), batch[1])
            self.log("accuracy", self.accuracy, on_epoch=True)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)}

    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, default_root_dir=folder, gradient_clip_val=1.0,
                             enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
        module = Classifier()
        loader = torch.utils.data.DataLoader
        trainer.fit(module, loader(_data(), 16, num_workers=2, persistent_workers=True), loader(_data(), 32))
        loaded = Classifier.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    metrics = {name: value for name, value in trainer.callback_metrics.items()}
    return {
        "losses": module.losses,
        "metrics": metrics,
        "loaded": list(loaded.net.state_dict().values()),
        "width": loaded.hparams.width,
    }
