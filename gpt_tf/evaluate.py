"""Perplexity and bits per byte of a run's newest checkpoint on a data folder.

  python -m gpt_tf.evaluate --model_dir=runs/books --data_dir=data/books --trigram
"""

import dataclasses

from absl import flags

from gpt_tf import cli
from gpt_tf.config import option
from gpt_tf.files import UserError


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, and how."""

    split: str = option("validation", "Split of the data folder.", choices=("validation", "train"))
    batch_size: int = option(32, "Sequences at once.")
    jit_compile: bool = option(True, "Compile with XLA.")
    trigram: bool = option(False, "Also fit a smoothed trigram on the training split and measure "
                                  "it on the same tokens.")


def trigram_perplexity(data_dir: str, split: str) -> float:
    """Perplexity of the data's own Kneser-Ney trigram on the tokens that the model predicts."""
    from gpt_tf import input as input_lib
    from gpt_tf.ngram import TrigramModel

    def windows(name):
        batches = input_lib.evaluation_batches(data_dir, name, batch_size=256)
        for batch in batches:
            for row, length in zip(batch["token_ids"].numpy(), batch["lengths"].numpy()):
                if length:
                    yield row[:length]

    vocabulary_size = input_lib.evaluation_batches(data_dir, split, 1).manifest.vocabulary_size
    return TrigramModel.fit(windows("train"), vocabulary_size).perplexity(windows(split))


def main() -> None:
    """Prints the scores."""
    cli.import_tensorflow()  # here and below, so that --help does not wait for it
    from gpt_tf import distribution, language_model, run_folder
    from gpt_tf.input import evaluation_batches
    from gpt_tf.tokenizer import Tokenizer

    model_dir, data_dir = flags.FLAGS.model_dir, flags.FLAGS.data_dir
    config = cli.from_flags(EvaluationConfig)
    batches = evaluation_batches(data_dir, config.split, config.batch_size)
    if Tokenizer.load(model_dir).fingerprint != batches.manifest.tokenizer_fingerprint:
        raise UserError(f"{data_dir} was made with another tokenizer than {model_dir}: build it "
                        f"again with --tokenizer={model_dir}.")
    model, step = run_folder.load_model(model_dir)
    evaluate = language_model.Evaluator(model, distribution.make_strategy("one_device"),
                                        config.jit_compile)
    scores = evaluate(batches, batches.manifest.splits[config.split])
    print(f"{model_dir}, update {step}, {config.split} split of {data_dir}:")
    for name, value in scores.items():
        print(f"  {name:20} {value:,.4f}" if name != "predicted_tokens" else
              f"  {name:20} {value:,.0f}")
    if config.trigram:
        print(f"  {'trigram perplexity':20} {trigram_perplexity(data_dir, config.split):,.4f}   "
              "(interpolated Kneser-Ney, same tokens)")


if __name__ == "__main__":
    flags.DEFINE_string("model_dir", None, "Run folder.", required=True)
    flags.DEFINE_string("data_dir", None, "Data folder of pipelines.build_corpus.", required=True)
    cli.define_flags(EvaluationConfig)
    cli.run(main)
