"""Probes: what is measured of a language model in its course, beside its own validation.

A probe is called at each validation, on every worker, with whether it is the last, and returns
scalars by name, which go where those of the validation go: `metrics.jsonl`, TensorBoard, the
progress. The Trainer knows none.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.model.gpt import GPT
from gpt_tf.model.losses import token_losses
from gpt_tf.training.evaluator import Evaluator
from gpt_tf.training.run import Run

Probe = Callable[[bool], dict[str, float]]

_REPEATED_SEQUENCES = 8
INDUCTION_GAIN = "induction/gain"


class InductionProbe:
    """How far tokens that are repeated are foreseen.

    Sequences of random tokens, each once more after its end. What follows the second time can be
    known by looking for where the present token stood before, and by nothing else: heads that do
    so (induction heads, Olsson et al. 2022, "In-context Learning and Induction Heads") are what
    comparing two sentences is made of. The gain is the mean loss of the first time less that of
    the second, in nats a token; of a model that cannot it is about 0.

    Args:
      model: the model.
      length: tokens of a sequence with its repetition, at most the model's positions.
      seed: of the tokens, which are the same at each call.
      jit_compile: whether to compile with XLA.
    """

    def __init__(self, model: GPT, length: int, seed: int = 0, jit_compile: bool = True):
        self._model = model
        half = np.random.default_rng(seed).integers(
            model.config.vocabulary_size, size=[_REPEATED_SEQUENCES, length // 2], dtype=np.int32)
        self._token_ids = tf.constant(np.concatenate([half, half], axis=1))
        self._measure = tf.function(self._gain, jit_compile=jit_compile, autograph=False)

    def __call__(self, last: bool) -> dict[str, float]:
        """{"induction/gain": nats}, each time of the same tokens."""
        return {INDUCTION_GAIN: float(self._measure())}

    def _gain(self):
        hidden = self._model(self._token_ids)[:, :-1]
        targets = self._token_ids[:, 1:]
        width = hidden.shape[-1]
        losses = token_losses(tf.reshape(hidden, [-1, width]), self._model.vocabulary_table(),
                              tf.reshape(targets, [-1]))
        losses = tf.reshape(losses, targets.shape)
        # Nothing says which token the repetition begins with, the one at the middle.
        count = self._token_ids.shape[1] // 2 - 1
        return tf.reduce_mean(losses[:, :count]) - tf.reduce_mean(losses[:, -count:])


class CorpusProbe:
    """Loss and bits per byte on the validation split of another data folder.

    Args:
      run: whose model is measured.
      evaluate: measures it, with the programs of its own validation.
      name: what the scalars begin with.
      folder: the data folder.
      manifest: of the folder.
    """

    def __init__(self, run: Run, evaluate: Evaluator, name: str, folder: str,
                 manifest: Manifest):
        training = run.config.training
        self._name = name
        self._split = manifest.splits["validation"]
        self._batches, self._all = (
            evaluation_batches(folder, "validation", training.batch_size, run.cluster.share,
                               manifest, limit)
            for limit in (training.evaluation_batches, 0))
        self._evaluate = evaluate

    def __call__(self, last: bool) -> dict[str, float]:
        """{"books/loss": nats a token, "books/bits_per_byte": bits}, of a folder `books`; over the
        whole split if `last`."""
        scores = self._evaluate(self._all if last else self._batches, self._split)
        return {f"{self._name}/{name}": scores[name] for name in ("loss", "bits_per_byte")}


def probes_of(run: Run, evaluate: Evaluator) -> list[Probe]:
    """Those that the flags ask for.

    Args:
      run: whose model is measured.
      evaluate: of its validation.
    """
    config = run.config
    found: list[Probe] = [
        CorpusProbe(run, evaluate, name, folder, manifest)
        for name, (folder, manifest) in zip(config.probe_names, config.probe_manifests.items())]
    if config.probes.probe_induction:
        found.append(InductionProbe(run.model, config.data.manifest.sequence_length,
                                    jit_compile=config.training.jit_compile))
    return found
