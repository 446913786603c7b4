"""Which shipped flagfile suits a corpus, and how long its run takes on the processors here.

Without TensorFlow: from the arithmetic of the model and a tenth of a second of matrix products.
"""

import dataclasses
import os
import time

import numpy as np

from gpt_tf.common import flagfiles
from gpt_tf.config import ModelConfig, TrainingConfig
from gpt_tf.data.manifest import Manifest
from pipelines.building.plan import TRAIN

SMALL_TEXT, BOOKS, PAPER = "small_text.flags", "books_tiny.flags", "gpt1.flags"
# Training tokens from which on a flagfile suits: BOOKS sees 16 M in its updates, and PAPER's model
# has 116 M parameters.
_FROM = ((100_000_000, PAPER), (3_000_000, BOOKS), (0, SMALL_TEXT))

# What a whole command reaches of `speed`, imports, compilation and validations included: 0.63
# measured of quickstart.flags on 2 cores of an AMD EPYC (family 26), where the updates alone reach
# 0.9; longer runs are nearer to that.
_EFFICIENCY = 0.65
_SIDE = 64  # of the matrices: too small for numpy to share out, so other work disturbs little


def suitable(num_tokens: int) -> str:
    """The name of the shipped flagfile that suits a corpus of so many training tokens."""
    return next(name for least, name in _FROM if num_tokens >= least)


def duration(flagfile: str, manifest: Manifest) -> str:
    """About how long the run of a shipped flagfile on a data folder takes here: "4 minutes"."""
    minutes = operations(flagfile, manifest) / (_EFFICIENCY * speed()) / 60
    for unit, length in (("days", 24 * 60), ("hours", 60)):
        if minutes >= 2 * length:
            return f"{minutes / length:.0f} {unit}"
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute"


def operations(flagfile: str, manifest: Manifest) -> float:
    """Floating-point operations of a run's updates.

    Of each token: 6 a parameter that it is multiplied with (2 forward, 4 backward), the softmax's
    table among them; and 12 a unit of width, layer and position, of attention.
    """
    values = _values(flagfile)
    if not int(values["max_sequence_length"]):
        values["max_sequence_length"] = str(manifest.sequence_length)
    model = _config(ModelConfig, values, vocabulary_size=manifest.vocabulary_size)
    training = _config(TrainingConfig, values)
    length, width = manifest.sequence_length, model.hidden_dim
    multiplied = model.num_parameters - model.max_sequence_length * width
    each = 6 * multiplied + 12 * length * model.num_layers * width
    return (each * length * training.batch_size
            * training.total_steps(manifest.splits[TRAIN].records))


def _values(flagfile: str) -> dict[str, str]:
    lines = flagfiles.expand([f"--flagfile={flagfiles.SHIPPED / flagfile}"])
    return dict(line.removeprefix("--").split("=", 1) for line in lines)


def _config(config_class: type, values: dict[str, str], **more: int):
    return config_class(**more, **{
        field.name: type(field.default)(values[field.name])
        for field in dataclasses.fields(config_class) if field.name in values})


def speed() -> float:
    """Floating-point operations a second of float32 matrix products on all processors here."""
    matrices = np.ones((_SIDE, _SIDE, _SIDE), np.float32)
    fastest = float("inf")
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        start = time.monotonic()
        np.matmul(matrices, matrices)
        fastest = min(fastest, time.monotonic() - start)
    return (os.cpu_count() or 1) * 2 * _SIDE ** 4 / fastest
