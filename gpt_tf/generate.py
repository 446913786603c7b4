"""Continues a prompt with a run's newest checkpoint.

  python -m gpt_tf.generate --model_dir=runs/books --prompt='It was a dark' \\
      --max_new_tokens=80 --top_p=0.9
"""

from absl import flags

from gpt_tf import cli
from gpt_tf.config import SamplingConfig
from gpt_tf.files import UserError


def main() -> None:
    """Prints the prompt and its continuation."""
    cli.import_tensorflow()  # here and below, so that --help does not wait for it
    from gpt_tf import run_folder
    from gpt_tf.generation import Generator
    from gpt_tf.tokenizer import Tokenizer

    model_dir, prompt = flags.FLAGS.model_dir, flags.FLAGS.prompt
    sampling = cli.from_flags(SamplingConfig)
    tokenizer = Tokenizer.load(model_dir)
    model, _ = run_folder.load_model(model_dir)
    token_ids = tokenizer.encode(prompt)
    try:
        new = Generator(model, sampling)([token_ids], flags.FLAGS.max_new_tokens, flags.FLAGS.seed)
    except ValueError as error:
        raise UserError(f"--prompt, --max_new_tokens: {error}") from error
    print(tokenizer.decode(token_ids + new[0].numpy().tolist()))


if __name__ == "__main__":
    flags.DEFINE_string("model_dir", None, "Run folder.", required=True)
    flags.DEFINE_string("prompt", None, "Text to continue.", required=True)
    flags.DEFINE_integer("max_new_tokens", 80, "Tokens to add.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Decides the sample.")
    cli.define_flags(SamplingConfig)
    cli.run(main)
