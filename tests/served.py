"""Exported models as their users load them: in a process that knows TensorFlow alone."""

import json
import subprocess
import sys

import numpy as np

_CLIENT = r"""
import json, sys
for name in ("gpt_tf", "pipelines", "ftfy", "spacy", "tokenizers"):
    sys.modules[name] = None  # importing it is an error
import tensorflow as tf
before = set(sys.modules)

def call(models, folder, name, inputs):
    if folder not in models:
        models[folder] = tf.saved_model.load(folder)
    signature = models[folder].signatures[name]
    specs = signature.structured_input_signature[1]
    assert set(specs) == set(inputs), (sorted(specs), sorted(inputs))
    tensors = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
    try:
        outputs = signature(**tensors)
    except tf.errors.OpError as error:
        return {"error": error.message}
    return {key: ([cell.decode() for cell in value.numpy().ravel()] if value.dtype == tf.string
                  else value.numpy().ravel().tolist(), value.shape.as_list())
            for key, value in outputs.items()}

models = {}
answers = [call(models, *each) for each in json.load(sys.stdin)]
added = sorted(name for name in set(sys.modules) - before if "keras" in name)
print(json.dumps({"answers": answers, "added": added}))
"""


def ask(calls, cwd):
    """Answers to [(folder, signature, inputs)]: {output: array}, or {"error": message}."""
    done = subprocess.run([sys.executable, "-c", _CLIENT], input=json.dumps(calls), text=True,
                          cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["added"] == []  # loading and calling wanted no more of Keras
    return [answer if "error" in answer else
            {key: np.array(values).reshape(shape) for key, (values, shape) in answer.items()}
            for answer in found["answers"]]
