"""Trains the PyTorch peer as one of our runs was trained, to put their losses side by side.

  python -m benchmarks.compare_losses --model_dir=runs/books --output=peer.jsonl

The peer gets the run's model shape, hyper-parameters, schedule, initial weights and its very
batches; dropout masks are its own. By default it does half of the run's updates, with the
learning rates of the whole. Every line of `--output` is written at once, so the run may be stopped
at any time.
"""

import dataclasses
import json
import math
import os
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.progress import Progress
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Folder of our finished (or running) run.")
_OUTPUT = flags.DEFINE_string("output", "peer.jsonl", "Where the peer's metrics go.")
_FRACTION = flags.DEFINE_float("fraction", 0.5, "Part of the run's updates to do.")
_MAX_MINUTES = flags.DEFINE_float("max_minutes", 60, "Stop after this time with a validation.")
_COMPILED = flags.DEFINE_bool("compiled", False, "Use torch.compile; needs a C++ compiler.")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of `gpt_tf.pretrain`, as its folder describes it."""

    model: ModelConfig
    optimizer: OptimizerConfig
    training: TrainingConfig
    data_dir: str

    @classmethod
    def load(cls, model_dir: str) -> "Run":
        """Reads `model.json` and `pretrain.flags`.

        Raises:
          UserError: one of them is missing.
        """
        from gpt_tf.runs import run_folder
        values = run_folder.load_flags(model_dir)
        return cls(run_folder.load_config(model_dir), from_strings(OptimizerConfig, values),
                   from_strings(TrainingConfig, values), values["data_dir"])


def from_strings(config_class: type, values: dict[str, str]):
    """Builds a configuration from those of `values` that name a number or word of it."""
    return config_class(**{
        field.name: type(field.default)(values[field.name])
        for field in dataclasses.fields(config_class)
        if field.name in values and not isinstance(field.default, bool)})


def to_torch(batch):
    """A batch of `data.batches` as token ids and labels, int64 [B, T]; padding is ignored."""
    import torch

    from benchmarks import peers
    token_ids = torch.from_numpy(batch["token_ids"].numpy()).long()
    lengths = torch.from_numpy(batch["lengths"].numpy())
    padding = torch.arange(token_ids.shape[1]) >= lengths[:, None]
    return token_ids, token_ids.masked_fill(padding, peers.IGNORED)


def validation_loss(model, run: Run, limit: int) -> float:
    """Nats per predicted token over `limit` batches from all over the validation split, as the run
    takes them; 0: over all of it."""
    import torch

    from benchmarks import peers
    from gpt_tf.data import batches as data
    total, count = 0.0, 0
    batches = data.evaluation_batches(run.data_dir, "validation", run.training.batch_size,
                                      limit=limit)
    model.eval()
    with torch.no_grad():
        for batch in batches:
            token_ids, labels = to_torch(batch)
            predicted = int((labels[:, 1:] != peers.IGNORED).sum())
            if predicted:
                total += model.loss(token_ids, labels).item() * predicted
                count += predicted
    model.train()
    return total / count


def train(run: Run, total_updates: int, last_update: int, seconds: float) -> list[dict]:
    """Trains the peer and writes a line for each log or validation; returns the lines.

    Args:
      run: what to imitate.
      total_updates: length of the run's schedule.
      last_update: where the peer stops.
      seconds: the most time it may take, validations included.
    """
    import torch

    from benchmarks import peers
    from gpt_tf.data import batches as data
    from gpt_tf.model.gpt import GPT
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(run.training.seed)
    trainer = peers.PeerTrainer(peers.torch_copy(GPT(run.model, seed=run.training.seed)),
                                run.optimizer, total_updates, _COMPILED.value)
    batches = data.train_batches(run.data_dir, run.training.batch_size, run.training.seed)
    start, lines, losses = time.monotonic(), [], []
    with open(_OUTPUT.value, "w", encoding="utf-8") as stream, Progress(
            last_update, "update", "PyTorch peer") as progress:
        for update, batch in zip(range(1, last_update + 1), batches):
            losses.append(trainer.update(*to_torch(batch)).item())
            last = update == last_update or time.monotonic() - start > seconds
            validate = last or (run.training.evaluate_every
                                and update % run.training.evaluate_every == 0)
            progress.update(1, loss=f"{losses[-1]:.3f}")
            if validate or update % run.training.log_every == 0:
                lines.append({"step": update, "train/loss": sum(losses) / len(losses),
                              "seconds": time.monotonic() - start})
                losses = []
                if validate:
                    # As the run itself: its last validation takes all batches.
                    limit = run.training.evaluation_batches if update < total_updates else 0
                    lines[-1]["validation/loss"] = validation_loss(trainer.model, run, limit)
                stream.write(json.dumps(lines[-1]) + "\n")
                stream.flush()
            if last:
                break
    return lines


def our_validation_losses(model_dir: str) -> dict[int, float]:
    """Update -> validation loss, of the run's own `metrics.jsonl`."""
    losses = {}
    with open(os.path.join(model_dir, "metrics.jsonl"), encoding="utf-8") as stream:
        for line in stream:
            values = json.loads(line)
            if "validation/loss" in values:
                losses[values["step"]] = values["validation/loss"]
    return losses


def make_table(ours: dict[int, float], lines: list[dict]) -> str:
    """The validation losses of both at every update where both were taken."""
    theirs = {line["step"]: line["validation/loss"] for line in lines if "validation/loss" in line}
    rows = [[str(step), f"{ours[step]:.4f}", f"{theirs[step]:.4f}",
             f"{100 * (ours[step] / theirs[step] - 1):+.2f}%",
             f"{math.exp(ours[step]):.2f}", f"{math.exp(theirs[step]):.2f}"]
            for step in theirs if step in ours]
    return report.markdown_table(["update", "ours, nats", "PyTorch, nats", "ours above",
                                  "our perplexity", "PyTorch's"], rows)


def main() -> None:
    """Trains the peer, then prints both courses of the validation loss."""
    from gpt_tf.data.manifest import Manifest
    if not _MODEL_DIR.value:
        raise UserError("Name the folder of a gpt_tf.pretrain run with --model_dir.")
    run = Run.load(_MODEL_DIR.value)
    manifest = Manifest.load(run.data_dir)
    total = run.training.total_steps(manifest.splits["train"].records)
    lines = train(run, total, max(1, round(total * _FRACTION.value)), 60 * _MAX_MINUTES.value)
    print(report.describe_machine(["tensorflow", "torch"]))
    print(f"\n{run.model.num_parameters:,} parameters, schedule of {total} updates of "
          f"{run.training.batch_size} x {manifest.sequence_length} tokens\n")
    print(make_table(our_validation_losses(_MODEL_DIR.value), lines))


if __name__ == "__main__":
    cli.run(main)
