"""Writes the training step of a shape as XLA's program, to be run where there is no TensorFlow.

  python -m benchmarks.gpu.export --flagfile=gpt1.flags --dtype=mixed_bfloat16 --batch_size=64 \\
      --output_dir=step
  python -m benchmarks.gpu.export --flagfile=books_small.flags --data_dir=data/books \\
      --output_dir=step

The flags are those of gpt_tf.pretrain. The folder made holds the whole update (forward, backward,
clipping, Adam) as a program, and a JSON of its arguments and initial weights; with --data_dir also
the training tokens, packed. `benchmarks.gpu.there` runs it with numpy and JAX alone, and
`benchmarks.gpu.bring_back` makes a run folder of what that trained.
"""

import dataclasses
import gzip
import json
import os
from unittest import mock

from benchmarks.gpu import packed
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.config import ModelConfig, OptimizerConfig, Options, TrainingConfig, option
from gpt_tf.data.manifest import LANGUAGE_MODEL
from gpt_tf.training.run_config import TrainingData

NO_DATA = "none"


@dataclasses.dataclass(frozen=True)
class ExportConfig(Options):
    """From what, and where to."""

    data_dir: str = option(NO_DATA, "Data folder to pack; none: a shape to be timed on random "
                           "tokens.", path=True)
    output_dir: str = option(None, "Folder to make.", required=True, path=True)
    parts: int = option(1, "Files that the tokens are packed into.", at_least=1)


def program(model: ModelConfig, optimizer: OptimizerConfig, training: TrainingConfig,
            length: int, on_gpu: bool = True) -> tuple[bytes, dict[str, list]]:
    """The step as XLA's program.

    It takes rows int32 [B], lengths int32 [B], the update's number int64, token ids int32 [B, T],
    the corrected rate and a flag (0), float32, and the state; it gives back the flag, the norm of
    the gradient, the loss and the tokens read, float32, and the state.

    Args:
      model, optimizer, training: what `gpt_tf.pretrain` would train.
      length: T, at most the model's positions.
      on_gpu: whether chunks of logits have the size for GPUs.

    Returns:
      A serialized HLO module, and what it takes: "variables", as `initial.weights` takes them; and
      "state", [group, place in the variables] of each part of the state, where a group is "model",
      "mean" or "square".
    """
    cli.import_tensorflow()
    import tensorflow as tf

    from gpt_tf.model import losses
    from gpt_tf.model.gpt import GPT
    from gpt_tf.model.objectives import language_model_loss
    from gpt_tf.model.optimizer import Adam
    from gpt_tf.training import devices, replicas
    from gpt_tf.training.train_step import TrainStep

    devices.allow_tf32(training.dtype)
    network = GPT(model, seed=training.seed, dtype=training.dtype_policy)
    variables = network.trainable_variables
    adam = Adam(variables, optimizer, training.num_steps)
    step = TrainStep(replicas.one_device(), variables,
                     language_model_loss(network, training.seed), adam, training)
    rows = training.batch_size
    batch = {"token_ids": tf.zeros([rows, length], tf.int32),
             "lengths": tf.fill([rows], length), "batch_rows": tf.range(rows),
             "step": tf.constant(1, tf.int64)}
    arguments = batch, tf.constant(0.0), tf.constant(0.0)
    update = tf.function(step.run, jit_compile=True)
    with mock.patch.object(losses, "on_gpu", return_value=on_gpu):
        captured = update.get_concrete_function(*arguments).captured_inputs
        update_hlo = update.experimental_get_compiler_ir(*arguments)(stage="hlo_serialized")
    return update_hlo, {"variables": variables_of(network),
                        "state": _places(captured, variables, adam)}


def variables_of(network) -> list[dict]:
    """Name, shape and initial values of each variable of a layer, for `initial.weights`."""
    initializers = {}
    for layer in network._flatten_layers():
        for name in ("kernel", "bias", "embeddings", "gamma", "beta"):
            variable = getattr(layer, name, None)
            if variable is not None:
                initializers[variable.path] = getattr(layer, f"{name}_initializer")
    found = []
    for variable in network.trainable_variables:
        initializer = initializers[variable.path]
        values = ({"seed": initializer.seed, "stddev": initializer.stddev}
                  if hasattr(initializer, "stddev") else {"value": float(initializer([1])[0])})
        found.append({"name": variable.path, "shape": list(variable.shape), **values})
    return found


def _places(captured, variables, adam) -> list[tuple[str, int]]:
    """The group and the place in `variables` of each variable that a function captured."""
    groups = {"model": [variable.value for variable in variables],
              **{group: list(moments.values()) for group, moments in adam.moments().items()}}
    places = {id(value.handle): (group, place) for group, values in groups.items()
              for place, value in enumerate(values)}
    return [places[id(handle)] for handle in captured]


def check_new(flag: str, folder: str) -> None:
    """Sees that nothing stands in the way.

    Raises:
      UserError: the folder exists and is not empty.
    """
    if os.path.exists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise UserError(f"--{flag}={folder} exists: name a folder that is not there yet.")


def main() -> None:
    """Writes the folder."""
    config, training = cli.from_flags(ExportConfig), cli.from_flags(TrainingConfig)
    optimizer = cli.from_flags(OptimizerConfig)
    check_new("output_dir", config.output_dir)
    if config.data_dir == NO_DATA:
        data, model = None, cli.from_flags(ModelConfig)
        length = model.max_sequence_length
    else:
        data = TrainingData.load(config.data_dir, LANGUAGE_MODEL)
        length = data.manifest.sequence_length
        model = cli.from_flags(ModelConfig, vocabulary_size=data.manifest.vocabulary_size,
                               max_sequence_length=cli.value_or("max_sequence_length", length))
        data.check_windows(model, is_from_scratch=True)
        if model.vocabulary_size > packed.MOST_TOKENS:
            raise UserError(
                f"{config.data_dir} has a vocabulary of {model.vocabulary_size:,} entries, and "
                f"benchmarks.gpu takes {packed.MOST_TOKENS:,} at the most.")
    hlo, taken = program(model, optimizer, training, length)
    described = {
        "model": dataclasses.asdict(model), "optimizer": dataclasses.asdict(optimizer),
        "training": {name: getattr(training, name)
                     for name in ("batch_size", "seed", "dtype")},
        "parameters": model.num_parameters, "sequence_length": length, **taken}
    with atomic_folder(config.output_dir) as folder:
        with gzip.open(os.path.join(folder, "update.hlo.gz"), "wb") as stream:
            stream.write(hlo)
        if data is not None:
            described["data"] = packed.write(folder, data.folder, data.manifest, "train",
                                             config.parts)
        with open(os.path.join(folder, "step.json"), "w", encoding="utf-8") as stream:
            json.dump(described, stream, indent=1)
    print(f"Wrote {config.output_dir}: {model.num_parameters:,} parameters, batches of "
          f"{training.batch_size} x {length}, {training.dtype}.")


if __name__ == "__main__":
    for config_class in (ExportConfig, ModelConfig, OptimizerConfig, TrainingConfig):
        cli.define_flags(config_class)
    cli.run(main)
