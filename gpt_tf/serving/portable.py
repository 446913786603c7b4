"""Run folder -> a folder with what an app needs: functions of token ids, and how to feed them.

  model.tflite (LiteRT), or logits.onnx and classify.onnx
  signatures.json   the functions: file, inputs, outputs; names of classes, special tokens
  model.json, task.json, the tokenizer's files: as in a run folder

The formats hold no strings, no tables, no checks and no loop that generates; their functions are
the SavedModel's `logits` and `classify` without these. Letters as in `task_model.py`.
"""

import os

import tensorflow as tf

from gpt_tf.common.small_files import json_bytes, write_recorded
from gpt_tf.model.gpt import GPT
from gpt_tf.model.linear import products_of_one_op
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder
from gpt_tf.serving import frame, litert, onnx
from gpt_tf.serving.signatures import Outputs, Signature, spec
from gpt_tf.tasks.answers import class_names
from gpt_tf.tasks.forms import SpecialTokens
from gpt_tf.tokenizer import Tokenizer

DESCRIPTION = "signatures.json"  # every such folder has it
_WRITERS = {"litert": litert.write, "onnx": onnx.write}


class PortableServing:
    """Signatures of a run in ops that every format has.

    Args:
      model: of a pre-trained or a fine-tuned run.
    """

    def __init__(self, model: GPT | TaskModel):
        self._model = model
        self._gpt = model.gpt if isinstance(model, TaskModel) else model

    def signatures(self) -> dict[str, Signature]:
        """Name -> signature; of a fine-tuned run "classify" comes first."""
        logits = {"logits": Signature(self.logits, {"token_ids": spec(tf.int32, None, None)})}
        if not isinstance(self._model, TaskModel):
            return logits
        count = self._model.task.num_sequences
        return {"classify": Signature(self.classify, {
            "token_ids": spec(tf.int32, None, count, None),
            "lengths": spec(tf.int32, None, count)})} | logits

    def logits(self, token_ids) -> Outputs:
        """int32 [B, T] -> float32 [B, T, V]: at each position, of the token after it."""
        # Not GPT.logits, for the reason of `products_of_one_op`.
        return {"logits": tf.matmul(self._gpt(token_ids), self._gpt.output_table(),
                                    transpose_b=True)}

    def classify(self, token_ids, lengths) -> Outputs:
        """Answers to sequences that are made as in `forms`.

        Args:
          token_ids: int32 [B, K, T], padded at the end.
          lengths: int32 [B, K].

        Returns:
          probabilities float32 [B, C]; and label_ids int32 [B], or scores float32 [B].
        """
        logits, task = self._model(token_ids, lengths), self._model.task
        probabilities = tf.nn.softmax(logits)
        if task.is_score:
            low, high = task.score_range
            scores = tf.linalg.matvec(probabilities, tf.range(low, high + 1, dtype=tf.float32))
            return {"probabilities": probabilities, "scores": scores}
        return {"probabilities": probabilities,
                "label_ids": tf.argmax(logits, axis=-1, output_type=tf.int32)}


def write(model_dir: str, which: str, kind: str, target: str) -> tuple[list[str], int]:
    """Writes a run in one of the formats, whole or not at all.

    Args:
      model_dir: the run folder.
      which: weights, `config.BEST` or `config.NEWEST`.
      kind: "litert" or "onnx".
      target: folder to make; one that stands there is replaced.

    Returns:
      (names of the signatures, update of the weights).

    Raises:
      UserError: the folder is not a run's, has no checkpoint that is whole, or `target` cannot be
        written.
    """
    model, step = frame.load(model_dir, which)
    tokenizer = Tokenizer.load(model_dir)
    signatures = PortableServing(model).signatures()
    with frame.whole_folder(target) as folder:
        with products_of_one_op():
            written = _WRITERS[kind](model, signatures, folder)
        description = {"format": kind, "signatures": {name: {
            "file": file, "inputs": _tensors(signatures[name].inputs), "outputs": _tensors(outputs),
        } for name, (file, outputs) in written.items()}}
        task, max_length, config = None, 0, run_folder.load_config(model_dir, which)
        if isinstance(model, TaskModel):
            task, max_length = run_folder.load_task(model_dir)
            description["class_names"] = class_names(task)
            description["special_tokens"] = SpecialTokens.after(
                tokenizer.vocabulary_size)._asdict()
        run_folder.describe(folder, config, task, max_length, tokenizer)
        write_recorded(os.path.join(folder, DESCRIPTION), json_bytes(description))
    return list(signatures), step


def _tensors(specs) -> dict[str, dict]:
    """Dtype and shape of each input or output; sizes that are free have names."""
    return {name: {"dtype": each.dtype.name, "shape": frame.dimensions(each.shape)}
            for name, each in specs.items()}
