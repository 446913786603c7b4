"""Functions of token ids as one LiteRT file, whose signatures share the weights."""

from collections.abc import Mapping
import os
import shutil

import keras
import tensorflow as tf

from gpt_tf.serving.frame import trace
from gpt_tf.serving.signatures import Outputs, Signature

_FILE = "model.tflite"


def write(model: keras.layers.Layer, signatures: Mapping[str, Signature],
          folder: str) -> dict[str, tuple[str, Outputs]]:
    """Writes the file.

    The converter is TensorFlow's, and is held to LiteRT's own ops: SELECT_TF_OPS are not in the
    interpreters that people install.

    Args:
      model: has the weights.
      signatures: functions of it, by name.
      folder: where to write.

    Returns:
      Of each function the name of the file, and the specs of its outputs.
    """
    traced = {name: trace(signature) for name, signature in signatures.items()}
    root = tf.Module(name="gpt_tf")
    root.weights = [variable.value for variable in model.trainable_variables]
    path = os.path.join(folder, "saved_model")  # the one source that keeps the signatures' names
    tf.saved_model.save(root, path, signatures=traced)
    content = tf.lite.TFLiteConverter.from_saved_model(
        path, signature_keys=list(signatures)).convert()
    shutil.rmtree(path)
    with open(os.path.join(folder, _FILE), "wb") as stream:
        stream.write(content)
    return {name: (_FILE, function.structured_outputs) for name, function in traced.items()}
