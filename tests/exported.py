"""Exports for LiteRT and ONNX beside the run that they are of."""

import json

import numpy as np
import tensorflow as tf

from gpt_tf.runs import run_folder, weights


def calls_of(config, task):
    """(signature, inputs) of batches and lengths of every kind; of a task's classifier, too."""
    rng = np.random.default_rng(4)
    count = task.num_sequences if task else 1
    for batch, time in ((1, 1), (2, 7), (3, config.max_sequence_length)):
        token_ids = rng.integers(1, config.vocabulary_size, [batch, count, time], np.int32)
        yield "logits", {"token_ids": token_ids[:, 0]}
        if task:
            lengths = rng.integers(1, time + 1, [batch, count], np.int32)
            yield "classify", {"token_ids": token_ids, "lengths": lengths}


def check(run, folder, open_file):
    """Holds what a folder of an export answers, and says of itself, to the run's own model.

    Args:
      run: the run folder.
      folder: the export's.
      open_file: (path, name of a signature) -> a function of its inputs that gives {output: array}.

    Returns:
      What signatures.json says.
    """
    said = json.loads((folder / "signatures.json").read_text(encoding="utf-8"))
    model, task, config = None, None, run_folder.load_config(str(run))
    if run_folder.is_fine_tuned(str(run)):
        model, task, _ = weights.load_task_model(str(run))
    gpt = model.gpt if task else weights.load_model(str(run))[0]
    assert set(said["signatures"]) == ({"classify", "logits"} if task else {"logits"})
    for name, inputs in calls_of(config, task):
        signature = said["signatures"][name]
        answer = open_file(folder / signature["file"], name)(inputs)
        sizes = {"batch": len(inputs["token_ids"]), "time": inputs["token_ids"].shape[-1]}
        for part, arrays in (("inputs", inputs), ("outputs", answer)):
            assert {key: (each.dtype.name, list(each.shape)) for key, each in arrays.items()} == {
                key: (each["dtype"], [sizes.get(size, size) for size in each["shape"]])
                for key, each in signature[part].items()}
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        if name == "logits":
            expected = gpt.logits(gpt(**tensors)).numpy()
            np.testing.assert_allclose(answer["logits"], expected, rtol=0,
                                       atol=3e-6 * np.abs(expected).max())
            continue
        expected = tf.nn.softmax(tf.cast(model(**tensors), tf.float64)).numpy()
        np.testing.assert_allclose(answer["probabilities"], expected, rtol=0, atol=2e-6)
        if task.is_score:
            low, high = task.score_range
            np.testing.assert_allclose(answer["scores"], expected @ np.arange(low, high + 1),
                                       rtol=1e-5)
        else:
            assert answer["label_ids"].tolist() == expected.argmax(axis=1).tolist()
    return said
