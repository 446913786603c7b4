"""Fine-tuning speed: length buckets against padding to the longest row, and against PyTorch.

  python -m benchmarks.finetuning --data_dir=data/cola

Examples per second of training on a data folder of pipelines.build_task with one text a row, one
shape of model, fresh processes that take turns:
  ours             gpt_tf.finetune's own compiled step and batches, joint loss (lambda 0.5)
  ours_padded      the same, every batch padded to the longest row of the set
  ours_no_lm       without the auxiliary loss, which is all that the PyTorch side computes
  transformers     OpenAIGPTForSequenceClassification, eager, shuffled batches padded to their own
                   longest row, fused AdamW
Compilation is outside the rate: every width is met once before the clock starts.
"""

import collections
from collections.abc import Callable, Iterator
import itertools
import json
import os
import statistics
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig

_ALL_SIDES = ["ours", "ours_padded", "ours_no_lm", "transformers"]

_DATA = flags.DEFINE_string("data_dir", None, "Data folder of pipelines.build_task.")
_SHAPE = flags.DEFINE_enum("shape", "books_small", ["books_small", "gpt1"],
                           "books_small: 4 layers, 256 wide. gpt1: the paper's model.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Examples of an update.")
_STEPS = flags.DEFINE_integer("steps", 64, "Timed updates of each side and round; a multiple of "
                              "32 meets every length as often as the set does.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the sides take turns.")
_SIDES = flags.DEFINE_list("sides", _ALL_SIDES, "Which sides take part.")
_OLD = report.define_old()
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")

_TOTAL_UPDATES = 1000  # of the learning-rate schedule; the speed does not depend on it


def make_config(vocabulary_size: int, max_length: int) -> ModelConfig:
    """The shape that `--shape` names, with the special tokens' rows."""
    size = dict(vocabulary_size=vocabulary_size, num_special_tokens=3,
                max_sequence_length=max_length)
    if _SHAPE.value == "gpt1":
        return ModelConfig(**size)
    return ModelConfig(**size, num_layers=4, num_heads=4, hidden_dim=256, intermediate_dim=1024)


def timed(update: Callable, warm_up: list, batches: list) -> float:
    """Examples per second over `batches`, after every batch of `warm_up` has been taken."""
    for batch in warm_up:
        update(batch)
    start = time.perf_counter()
    for batch in batches:
        update(batch)
    return len(batches) * _BATCH.value / (time.perf_counter() - start)


def our_batches(padded: bool) -> tuple[list, list]:
    """(a batch of each width, the timed batches)."""
    import tensorflow as tf

    from gpt_tf.data import batches as data
    batches = data.task_batches(_DATA.value, _BATCH.value, seed=0)
    longest = int(batches.reader.lengths.max())
    timed_batches = list(itertools.islice(batches, _STEPS.value))
    if padded:
        for batch in timed_batches:
            missing = longest - batch["token_ids"].shape[2]
            batch["token_ids"] = tf.pad(batch["token_ids"][:, :, :longest],
                                        [[0, 0], [0, 0], [0, max(0, missing)]])
    widths = {batch["token_ids"].shape[2]: batch for batch in timed_batches}
    return list(widths.values()), timed_batches


def measure_ours(padded: bool, lm_coef: float) -> float:
    """Examples per second of our step."""
    from gpt_tf.data.manifest import Manifest
    from gpt_tf.model import task_model
    from gpt_tf.model.objectives import joint_loss
    from gpt_tf.model.optimizer import Adam
    from gpt_tf.training.replicas import one_device
    from gpt_tf.training.train_step import TrainStep
    manifest = Manifest.load(_DATA.value)
    config = make_config(manifest.vocabulary_size, manifest.sequence_length)
    model = task_model.TaskModel(config, manifest.task)
    optimizer = Adam(model.trainable_variables, OptimizerConfig(), _TOTAL_UPDATES)
    step = TrainStep(
        one_device(), model.trainable_variables,
        joint_loss(model, lm_coef, seed=0, jit_compile=True), optimizer, TrainingConfig())
    numbers = itertools.count(1)
    return timed(lambda batch: float(step(batch, next(numbers))["loss"]), *our_batches(padded))


def shuffled_rows() -> Iterator[tuple[list[list[int]], list[int]]]:
    """Batches of (token ids without padding, labels) in random order, without end."""
    import numpy as np

    from gpt_tf.data import batches as data
    rows, labels = [], []
    for batch in data.evaluation_batches(_DATA.value, "train", 256):
        for ids, length, label in zip(batch["token_ids"][:, 0].numpy(),
                                      batch["lengths"][:, 0].numpy(), batch["labels"].numpy()):
            if length:
                rows.append(ids[:length].tolist())
                labels.append(int(label))
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(rows))
        for start in range(0, len(order) - _BATCH.value + 1, _BATCH.value):
            chosen = order[start:start + _BATCH.value]
            yield [rows[i] for i in chosen], [labels[i] for i in chosen]


def measure_transformers() -> float:
    """Examples per second of transformers' classifier, as one would write the loop straight."""
    import torch
    from transformers import OpenAIGPTConfig, OpenAIGPTForSequenceClassification

    from gpt_tf.data.manifest import Manifest
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    manifest = Manifest.load(_DATA.value)
    config = make_config(manifest.vocabulary_size, manifest.sequence_length)
    padding = config.num_token_rows  # a row of its own: the model looks for it to find the end
    model = OpenAIGPTForSequenceClassification(OpenAIGPTConfig(
        vocab_size=padding + 1, n_positions=config.max_sequence_length, n_embd=config.hidden_dim,
        n_layer=config.num_layers, n_head=config.num_heads, pad_token_id=padding,
        num_labels=manifest.task.num_classes)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6.25e-5, weight_decay=0.01, fused=True)

    def update(batch):
        rows, labels = batch
        width = max(map(len, rows))
        token_ids = torch.tensor([row + [padding] * (width - len(row)) for row in rows])
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=token_ids, labels=torch.tensor(labels)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    batches = list(itertools.islice(shuffled_rows(), _STEPS.value + 3))
    return timed(update, batches[:3], batches[3:])


def measure_here(side: str) -> dict:
    """Examples per second and peak memory of one side, in this process."""
    rate = {"ours": lambda: measure_ours(False, 0.5),
            "ours_padded": lambda: measure_ours(True, 0.5),
            "ours_no_lm": lambda: measure_ours(False, 0.0),
            "transformers": measure_transformers}[side]()
    return {"examples_per_second": rate, "peak_memory_mib": report.peak_memory_mib()}


def make_table(results: dict[str, list[dict]]) -> str:
    """A row for each side, and how many times faster ours is than it."""
    rates = {side: [run["examples_per_second"] for run in runs] for side, runs in results.items()}
    compared = collections.defaultdict(lambda: "ours", transformers="ours_no_lm")
    rows = []
    for side, runs in results.items():
        against = compared[side]
        rows.append([side, f"{statistics.median(rates[side]):.1f}",
                     f"{against} {report.ratio(rates[against], rates[side])}"
                     if against in rates and against != side else "",
                     f"{max(run['peak_memory_mib'] for run in runs):.0f}"])
    return report.markdown_table(
        ["side", "examples/s (median)", "ours / side (range)", "peak memory, MiB"], rows)


def main() -> None:
    """Runs the sides in turns and prints the table, or measures one side."""
    from gpt_tf.data.manifest import Manifest
    if not _DATA.value:
        raise UserError("Name a folder of pipelines.build_task with --data_dir.")
    if _SIDE.value:
        cli.import_tensorflow()
        print(json.dumps(measure_here(_SIDE.value)))
        return
    manifest = Manifest.load(_DATA.value)
    if manifest.task is None or manifest.task.num_sequences != 1 or manifest.task.is_score:
        raise UserError(f"{_DATA.value} is not a task with classes and one sequence a row, which "
                        "all sides can learn; name another with --data_dir.")
    report.check_sides(_SIDES.value, _ALL_SIDES)
    sides = report.with_old(_SIDES.value, _OLD.value)
    arguments = [f"--data_dir={os.path.abspath(_DATA.value)}", f"--shape={_SHAPE.value}",
                 f"--batch_size={_BATCH.value}", f"--steps={_STEPS.value}"]
    results = report.alternate(sides, _ROUNDS.value, lambda side: report.run_side(
        "benchmarks.finetuning", arguments, side, _OLD.value))
    print(report.describe_machine(["tensorflow", "torch", "transformers"]))
    print(f"\n{manifest.task.name}, {_SHAPE.value}, batches of {_BATCH.value}, "
          f"{_ROUNDS.value} rounds of {_STEPS.value} updates\n")
    print(make_table(results))


if __name__ == "__main__":
    cli.run(main)
