"""Exported models as their users load them: in a process that knows TensorFlow alone."""

import json
import subprocess
import sys

import numpy as np

_CLIENT = r"""
import concurrent.futures, json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever libraries print is no answer
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
    tensors = {key: tf.constant(value, specs[key].dtype) if value else
               tf.zeros([size or 0 for size in specs[key].shape], specs[key].dtype)
               for key, value in inputs.items()}
    try:
        outputs = signature(**tensors)
    except tf.errors.OpError as error:
        return {"error": error.message}
    return {key: ([cell.decode() for cell in value.numpy().ravel()] if value.dtype == tf.string
                  else value.numpy().ravel().tolist(), value.shape.as_list())
            for key, value in outputs.items()}

models = {}
for line in sys.stdin:
    asked = json.loads(line)
    with concurrent.futures.ThreadPoolExecutor(asked["threads"]) as pool:
        found = list(pool.map(lambda each: call(models, *each), asked["calls"]))
    added = sorted(name for name in set(sys.modules) - before if "keras" in name)
    print(json.dumps({"answers": found, "added": added}), file=answers, flush=True)
"""


class Client:
    """The process: started when it is first asked, it keeps each model that it has loaded.

    Args:
      cwd: its folder, from which nothing of ours can be imported.
    """

    def __init__(self, cwd):
        self._cwd = cwd
        self._process = None

    def ask(self, calls, threads=1):
        """Answers to [(folder, signature, inputs)]: {output: array}, or {"error": message}.

        As many calls are under way at once as there are threads.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CLIENT], cwd=self._cwd, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process.stdin.write(json.dumps({"calls": calls, "threads": threads}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process of the exported models ended; it wrote why to standard error"
        found = json.loads(line)
        assert len(found["answers"]) == len(calls)
        assert found["added"] == []  # loading and calling wanted no more of Keras
        return [answer if "error" in answer else
                {key: np.array(values).reshape(shape) for key, (values, shape) in answer.items()}
                for answer in found["answers"]]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._process is not None:
            self._process.communicate()  # closes its standard input, which ends it
