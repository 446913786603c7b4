"""What int8 weights cost and save: memory, perplexity, speed of generation, of a run of ours.

  python -m benchmarks.int8 --model_dir=runs/books --data_dir=data/books
  python -m benchmarks.int8 --paper_size

Both sides are the same model, in float32 and after Keras's `quantize("int8")`, each in a fresh
process; the sides take turns. --paper_size takes random weights of the paper's shape and leaves
the perplexity out.
"""

import itertools
import json
import statistics
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import GenerationConfig, SamplingConfig

_SIDES = ("float32", "int8")

_MODEL_DIR = flags.DEFINE_string("model_dir", None, "Run folder.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Data folder whose validation split is measured.")
_PAPER_SIZE = flags.DEFINE_bool("paper_size", False, "Random weights of the paper's shape.")
_BATCHES = flags.DEFINE_integer("batches", 20, "Batches of 16 rows that are measured.")
_PROMPT = flags.DEFINE_integer("prompt_tokens", 64, "Tokens of the prompt.")
_NEW = flags.DEFINE_integer("new_tokens", 128, "Tokens to add.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the sides take turns.")
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")


def _perplexity(gpt) -> float:
    from gpt_tf.data import batches as data
    from gpt_tf.training.evaluator import Evaluator
    from gpt_tf.training.replicas import one_device
    batches = data.evaluation_batches(_DATA_DIR.value, "validation", 16)
    evaluate = Evaluator(gpt, one_device())
    return evaluate(itertools.islice(batches, _BATCHES.value),
                    batches.manifest.splits["validation"])["perplexity"]


def measure(side: str) -> dict[str, float]:
    """Weights in MiB, perplexity, new tokens a second and peak memory of one side."""
    cli.import_tensorflow()
    import numpy as np

    from gpt_tf import GPTBackbone, GPTCausalLM
    from gpt_tf.generation.generator import Generator
    model = GPTCausalLM(GPTBackbone() if _PAPER_SIZE.value
                        else GPTBackbone.from_preset(_MODEL_DIR.value))
    if side == "int8":
        model.quantize("int8")
    gpt = model.backbone.gpt
    result = {"weights_mib": sum(v.numpy().nbytes for v in gpt.variables) / 2**20}
    if not _PAPER_SIZE.value:
        result["perplexity"] = _perplexity(gpt)
    generate = Generator(gpt, SamplingConfig(temperature=0.0),
                         GenerationConfig(max_new_tokens=_NEW.value))
    prompt = np.random.default_rng(0).integers(1, gpt.config.vocabulary_size, _PROMPT.value)
    generate([prompt])
    start = time.perf_counter()
    generate([prompt])
    result["tokens_per_s"] = _NEW.value / (time.perf_counter() - start)
    return result | {"peak_memory_mib": report.peak_memory_mib()}


def main() -> None:
    """Lets the sides take turns and prints the table."""
    if _SIDE.value:
        print(json.dumps(measure(_SIDE.value)))
        return
    if not _PAPER_SIZE.value and not (_MODEL_DIR.value and _DATA_DIR.value):
        raise UserError("Name a run and its data with --model_dir and --data_dir, or give "
                        "--paper_size.")
    given = [flag for flag in (_MODEL_DIR, _DATA_DIR, _BATCHES, _PROMPT, _NEW) if flag.value]
    arguments = [f"--{flag.name}={flag.value}" for flag in given]
    arguments.append(f"--paper_size={_PAPER_SIZE.value}")
    results = report.alternate(_SIDES, _ROUNDS.value, lambda side: report.run_side(
        "benchmarks.int8", arguments, side))
    names = list(results["int8"][0])
    print(report.describe_machine(["tensorflow", "keras"]) + "\n")
    print(report.markdown_table(["side", *names], [
        [side, *(f"{statistics.median(row[name] for row in results[side]):.3f}"
                 for name in names)] for side in _SIDES]))


if __name__ == "__main__":
    cli.run(main)
