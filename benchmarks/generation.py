"""Speed of generation against transformers' GPT-1, which has no cache, and its GPT-2, which has.

  python -m benchmarks.generation --batch_size=1
  python -m benchmarks.generation --batch_size=8

`exported` is `generate` of a SavedModel of ours, which TensorFlow alone runs. Each side continues
the same number of random prompts with weights of its own, greedily, in float32, all cores, in a
fresh process; the sides take turns. All have the shape and vocabulary of our model. A run to warm
up (and compile, on our sides) comes first and is shown apart.

A new token needs every weight of a product once, and what the cache holds: the bound is how often a
second memory gives these bytes, at the best bandwidth with which PyTorch or XLA reads a large array
in the same round. Reading the prompts takes part in the rate alone.
"""

from collections.abc import Callable
import json
import statistics
import tempfile
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.config import GenerationConfig, ModelConfig, SamplingConfig

_ALL_SIDES = ["ours", "exported", "transformers_gpt1", "transformers_gpt2"]
_READING = ["reading_torch", "reading_xla"]  # sides that read memory and do nothing else

_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Prompts at once.")
_PROMPT = flags.DEFINE_integer("prompt_tokens", 64, "Tokens of each prompt.")
_NEW = flags.DEFINE_integer("new_tokens", 128, "Tokens to add.")
_LONG_PROMPT = flags.DEFINE_integer("long_prompt_tokens", 400,
                                    "Prompt whose first token is timed.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often the sides take turns.")
_SIDES = flags.DEFINE_list("sides", _ALL_SIDES, "Which sides take part.")
_OLD = report.define_old()
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")

Continue = Callable[[list[list[int]], int], object]


def _ours() -> Continue:
    cli.import_tensorflow()
    from gpt_tf.generation.generator import Generator
    from gpt_tf.model.gpt import GPT
    model = GPT(ModelConfig())
    generators = {}

    def generate(prompts, count):
        if count not in generators:
            generators[count] = Generator(model, SamplingConfig(temperature=0.0),
                                          GenerationConfig(max_new_tokens=count))
        return generators[count](prompts)
    return generate


def _exported() -> Continue:
    cli.import_tensorflow()
    import tensorflow as tf

    from gpt_tf.model.gpt import GPT
    from gpt_tf.serving import frame, saved_model
    from gpt_tf.serving.language_model_signatures import LanguageModelServing
    model = GPT(ModelConfig())
    root = tf.Module()
    root.weights = model.variables
    serving = LanguageModelServing(model, text=None, jit_compile=True)
    signature = frame.trace(serving.signatures()["generate_with_controls"])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(root, folder, signatures=signature)
        loaded = tf.saved_model.load(folder)

    def generate(prompts, count):
        rows = tf.ones([len(prompts)], tf.int64)
        return loaded.signatures[saved_model.DEFAULT](
            token_ids=tf.constant(prompts, tf.int64), lengths=rows * len(prompts[0]),
            max_new_tokens=rows * count, temperature=tf.zeros([len(prompts)]), top_k=rows * 0,
            top_p=tf.ones([len(prompts)]), seed=rows * 0)
    return generate


def _transformers(name: str) -> Continue:
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    shape = ModelConfig()
    config_class, model_class = {
        "transformers_gpt1": (transformers.OpenAIGPTConfig, transformers.OpenAIGPTLMHeadModel),
        "transformers_gpt2": (transformers.GPT2Config, transformers.GPT2LMHeadModel)}[name]
    model = model_class(config_class(vocab_size=shape.vocabulary_size,
                                     n_positions=shape.max_sequence_length)).eval()

    def generate(prompts, count):
        with torch.inference_mode():
            return model.generate(torch.tensor(prompts), do_sample=False, max_new_tokens=count,
                                  min_new_tokens=count, pad_token_id=0, eos_token_id=None)
    return generate


def measure(side: str) -> dict[str, float]:
    """New tokens a second, and seconds to the first one of a long prompt, of one side."""
    import numpy as np
    makers = {"ours": _ours, "exported": _exported}
    generate = makers[side]() if side in makers else _transformers(side)
    rng = np.random.default_rng(0)

    def seconds(rows, length, count):
        prompts = rng.integers(1, ModelConfig().vocabulary_size, [rows, length]).tolist()
        start = time.perf_counter()
        generate(prompts, count)
        return time.perf_counter() - start

    result = {"warm_up_s": seconds(_BATCH_SIZE.value, _PROMPT.value, _NEW.value)}
    result["tokens_per_s"] = _BATCH_SIZE.value * _NEW.value / seconds(
        _BATCH_SIZE.value, _PROMPT.value, _NEW.value)
    seconds(1, _LONG_PROMPT.value, 1)
    result["first_token_s"] = seconds(1, _LONG_PROMPT.value, 1)
    return result | {"peak_memory_mib": report.peak_memory_mib()}


def read_bandwidth(side: str) -> float:
    """Bytes per second of summing 1 GiB of float32 row by row on all cores, the fastest of 10."""
    shape = [2**18, 2**10]
    if side == "reading_torch":
        import torch
        array = torch.ones(shape)

        def read():
            return array.sum(1)
    else:
        cli.import_tensorflow()
        import tensorflow as tf
        array = tf.ones(shape)
        total = tf.function(lambda x: tf.reduce_sum(x, axis=1), jit_compile=True)

        def read():
            return total(array).numpy()
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        read()
        seconds.append(time.perf_counter() - start)
    return 2**30 / min(seconds)


def bytes_per_step(model: ModelConfig, rows: int, cached: float) -> float:
    """What a step that adds a token to each of `rows` sequences must read, in float32.

    The parameters but the position table, and the keys and values of `cached` tokens a row.
    """
    weights = model.num_parameters - model.max_sequence_length * model.hidden_dim
    return 4 * (weights + rows * cached * 2 * model.num_layers * model.hidden_dim)


def main() -> None:
    """Lets the sides take turns and prints the table."""
    if _SIDE.value in _READING:
        print(json.dumps({"bytes_per_s": read_bandwidth(_SIDE.value)}))
        return
    if _SIDE.value:
        print(json.dumps(measure(_SIDE.value)))
        return
    report.check_sides(_SIDES.value, _ALL_SIDES)
    sides = report.with_old(_SIDES.value, _OLD.value)
    arguments = [f"--{flag.name}={flag.value}"
                 for flag in (_BATCH_SIZE, _PROMPT, _NEW, _LONG_PROMPT)]
    results = report.alternate([*sides, *_READING], _ROUNDS.value, lambda side: report.run_side(
        "benchmarks.generation", arguments, side, _OLD.value))
    bandwidths = [max(run["bytes_per_s"] for run in runs)
                  for runs in zip(*(results[side] for side in _READING))]
    needed = bytes_per_step(ModelConfig(), _BATCH_SIZE.value, _PROMPT.value + _NEW.value / 2)
    bounds = [_BATCH_SIZE.value * bandwidth / needed for bandwidth in bandwidths]
    rows = []
    for side in sides:
        columns = {name: [result[name] for result in results[side]] for name in results[side][0]}
        against = report.ratio([result["tokens_per_s"] for result in results[_SIDES.value[0]]],
                               columns["tokens_per_s"])
        share = statistics.median(rate / bound for rate, bound in zip(columns["tokens_per_s"],
                                                                      bounds))
        rows.append([side, f"{statistics.median(columns['tokens_per_s']):.1f}", f"{share:.1%}",
                     against,
                     f"{statistics.median(columns['first_token_s']):.2f}",
                     f"{statistics.median(columns['warm_up_s']):.1f}",
                     f"{statistics.median(columns['peak_memory_mib']):.0f}"])
    print(report.describe_machine(["tensorflow", "torch", "transformers"]))
    print(f"\nPaper's size, batch {_BATCH_SIZE.value}, {_PROMPT.value} prompt tokens and "
          f"{_NEW.value} new ones, {_ROUNDS.value} rounds\n")
    print(report.markdown_table(
        ["side", "tokens/s", "of the bound", f"{_SIDES.value[0]} / side (range)",
         f"first token of {_LONG_PROMPT.value}, s", "first call, s", "peak memory, MiB"], rows))
    print(f"\nThe bound: a step of {_BATCH_SIZE.value} tokens reads {needed / 1e6:.0f} MB, the "
          "weights once and the caches at their mean length; at "
          f"{statistics.median(bandwidths) / 1e9:.1f} GB/s (median of the rounds, "
          f"{min(bandwidths) / 1e9:.1f}-{max(bandwidths) / 1e9:.1f}) these are "
          f"{statistics.median(bounds):.1f} tokens/s.")


if __name__ == "__main__":
    cli.run(main)
