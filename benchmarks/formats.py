"""What a SavedModel, a LiteRT and an ONNX file of a run cost, and how fast they answer.

  python -m benchmarks.formats --model_dir=runs/sst2
  python -m benchmarks.formats --paper_size

--paper_size takes a classifier of the paper's shape with random weights. Each format is made once,
in a process of its own: seconds (without imports), peak memory, size. Then each answers in fresh
processes that take turns, with plain TensorFlow, with ai_edge_litert and with onnxruntime.
"""

import json
import os
import statistics
import tempfile
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError

_SIDES = ("saved_model", "litert", "onnx")
_PACKAGES = ("tensorflow", "ai-edge-litert", "tf2onnx", "onnxruntime")

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run folder.")
_PAPER_SIZE = flags.DEFINE_bool("paper_size", False, "Random weights of the paper's shape.")
_SIDE_NAMES = flags.DEFINE_list("sides", list(_SIDES), "The formats that take part.")
_BATCH = flags.DEFINE_integer("batch", 8, "Rows of a batch.")
_TIME = flags.DEFINE_integer("time", 64, "Tokens of a sequence.")
_THREADS = flags.DEFINE_integer("threads", 2, "Threads of each.")
_SECONDS = flags.DEFINE_float("seconds", 5.0, "How long each signature is asked.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the sides take turns.")
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")
_FOLDER = flags.DEFINE_string("folder", None, "Of --side: the folder of the exports.")
_MAKE = flags.DEFINE_bool("make", False, "Of --side: export it.")


def _make_run(folder: str) -> None:
    """A classifier of the paper's shape, of weights that nothing trained."""
    cli.import_tensorflow()
    from gpt_tf.config import ModelConfig
    from gpt_tf.model.task_model import TaskModel
    from gpt_tf.runs import weights
    from gpt_tf.tasks.task import Task
    from gpt_tf.tokenizer import WordTokenizer
    config = ModelConfig(num_special_tokens=3)
    task = Task("random", "classification", 1, ("0", "1"), (), ("accuracy",))
    words = [f"{number}</w>" for number in range(config.vocabulary_size - 4)]
    tokens = ["<unk>", "0", *words, "00</w>", "\n</w>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    os.makedirs(folder)
    weights.write_converted(folder, "", TaskModel(config, task), config.max_sequence_length,
                            WordTokenizer(vocabulary, [("0", "0</w>")]), 0)


def export(side: str, folder: str) -> dict[str, float]:
    """Makes a run a SavedModel, a LiteRT file or ONNX files: seconds, MiB, peak memory in MiB."""
    cli.import_tensorflow()
    from gpt_tf.config import BEST
    from gpt_tf.serving import portable, saved_model
    start, target = time.perf_counter(), os.path.join(folder, side)
    if side == "saved_model":
        target = saved_model.save(saved_model.build(_MODEL_DIR.value), target, 1, False)
    else:
        portable.write(_MODEL_DIR.value, BEST, side, target)
    seconds = time.perf_counter() - start
    size = sum(os.path.getsize(os.path.join(path, name))
               for path, _, names in os.walk(target) for name in names)
    return {"seconds": seconds, "mib": size / 2**20, "peak_memory_mib": report.peak_memory_mib()}


def _saved_model(folder: str):
    cli.import_tensorflow()
    import tensorflow as tf
    tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
    model = tf.saved_model.load(os.path.join(folder, "1"))

    def ask(name, inputs):
        signature = model.signatures[name]
        answer = signature(**{key: tf.constant(value, tf.int64) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in answer.items()}
    return ask


def _litert(folder: str):
    from ai_edge_litert.interpreter import Interpreter
    interpreter = Interpreter(os.path.join(folder, "model.tflite"), num_threads=_THREADS.value)
    runners = {name: interpreter.get_signature_runner(name)
               for name in interpreter.get_signature_list()}
    return lambda name, inputs: runners[name](**inputs)


def _onnx(folder: str):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _THREADS.value
    sessions = {}

    def ask(name, inputs):
        if name not in sessions:
            sessions[name] = onnxruntime.InferenceSession(os.path.join(folder, f"{name}.onnx"),
                                                          options)
        names = [output.name for output in sessions[name].get_outputs()]
        return dict(zip(names, sessions[name].run(names, inputs)))
    return ask


def answer(side: str, folder: str) -> dict[str, float]:
    """Examples a second of each signature, and peak memory in MiB."""
    import numpy as np

    from gpt_tf.common.small_files import read_json
    ask = {"saved_model": _saved_model, "litert": _litert, "onnx": _onnx}[side](
        os.path.join(folder, side))
    model = read_json(os.path.join(_MODEL_DIR.value, "model.json"), "the model's shape")
    rng, rows = np.random.default_rng(0), _BATCH.value
    width = min(_TIME.value, model["max_sequence_length"])
    token_ids = rng.integers(0, model["vocabulary_size"], [rows, width]).astype(np.int32)
    calls = {"logits": {"token_ids": token_ids}}
    task = os.path.join(_MODEL_DIR.value, "task.json")
    if os.path.exists(task):
        count = read_json(task, "the run's task")["task"]["num_sequences"]
        calls["classify"] = {"token_ids": np.repeat(token_ids[:, None], count, axis=1),
                             "lengths": np.full([rows, count], width, np.int32)}
    found = {}
    for name, inputs in calls.items():
        ask(name, inputs)
        start, batches = time.perf_counter(), 0
        while time.perf_counter() - start < _SECONDS.value:
            ask(name, inputs)
            batches += 1
        found[f"{name}_per_s"] = rows * batches / (time.perf_counter() - start)
    return found | {"peak_memory_mib": report.peak_memory_mib()}


def main() -> None:
    """Lets the sides take turns and prints the tables."""
    if _SIDE.value:
        side = export if _MAKE.value else answer
        print(json.dumps(side(_SIDE.value, _FOLDER.value)))
        return
    if bool(_MODEL_DIR.value) == _PAPER_SIZE.value:
        raise UserError("Name a run with --model_dir, or give --paper_size.")
    sides = _SIDE_NAMES.value
    report.check_sides(sides, _SIDES)
    with tempfile.TemporaryDirectory() as folder:
        run = _MODEL_DIR.value or os.path.join(folder, "run")
        if _PAPER_SIZE.value:
            _make_run(run)
        arguments = [f"--model_dir={run}", f"--folder={folder}", *(
            f"--{flag.name}={flag.value}" for flag in (_BATCH, _TIME, _THREADS, _SECONDS))]
        made = report.alternate(sides, 1, lambda side: report.run_side(
            "benchmarks.formats", [*arguments, "--make"], side))
        answers = report.alternate(sides, _ROUNDS.value, lambda side: report.run_side(
            "benchmarks.formats", arguments, side))
    print(report.describe_machine(_PACKAGES) + "\n")
    print(report.markdown_table(["export", "seconds", "MiB", "peak memory, MiB"], [
        [side, *(f"{value:,.1f}" for value in made[side][0].values())] for side in sides]))
    names = list(answers[sides[0]][0])
    print("\n" + report.markdown_table(["answers", *(
        title for name in names for title in (name, f"beside {sides[0]}"))], [
        [side, *(cell for name in names for cell in _cells(answers, side, sides[0], name))]
        for side in sides]))


def _cells(answers: dict[str, list[dict]], side: str, first: str, name: str) -> list[str]:
    """The median of a figure, and its ratio to the first side's of the same round."""
    ours, theirs = ([row[name] for row in answers[each]] for each in (side, first))
    return [f"{statistics.median(ours):,.1f}", report.ratio(ours, theirs)]


if __name__ == "__main__":
    cli.run(main)
