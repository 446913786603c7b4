"""Writes the sample corpus: simple English stories from a seeded grammar of ours.

  python -m pipelines.stories --output=stories.jsonl --megabytes=3 --seed=1

An --output ending in .jsonl gets one story a row, {"text": ..., and its structure}, so that each
is a document; .txt gets the texts alone, with a blank line between two stories. The same flags give
the same bytes.

The choices of the structure come first in a story and are leaned on to its end (names and pronouns,
what was in the bag, who keeps the mill, the feeling that an outcome leaves), so that a model which
sees the whole story is surprised far less than one that sees two words.
"""

import dataclasses
import json
import os

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_output
from gpt_tf.common.names import unused
from gpt_tf.config import Options, option
from pipelines.grammar.stories import Story, generate


@dataclasses.dataclass(frozen=True)
class StoriesConfig(Options):
    """What to write and where.

    Raises:
      ValueError: a value is missing or out of range.
    """

    output: str = option("", "File to write: .jsonl, one story a row with its structure, or .txt.",
                         path=True)
    megabytes: float = option(3.0, "Text to write, in 10**6 bytes; the last story is whole.",
                              above=0)
    seed: int = option(1, "Other seeds tell other stories.", at_least=0)
    overwrite: bool = option(False, "Replace the file that stands at --output.")

    def __post_init__(self):
        super().__post_init__()
        if not self.output.endswith((".jsonl", ".txt")):
            raise ValueError(f"--output={self.output} must end in .jsonl or .txt.")


def _row(story: Story, text: str) -> str:
    derived = ("problem", "first_feeling", "feeling")
    structure = dataclasses.asdict(story) | {name: getattr(story, name) for name in derived}
    return json.dumps({"text": text} | structure | {"winner": story.winner.name})


def write(config: StoriesConfig) -> int:
    """Writes the corpus, whole or not at all, and returns the number of its stories.

    Raises:
      UserError: the file is there already, or cannot be written.
    """
    if os.path.isfile(config.output) and not config.overwrite:
        raise UserError(f"--output={config.output} is there already; name another file, or replace "
                        "it with --overwrite.")
    count = 0
    with open_output(config.output) as stream:
        for story, text in generate(config.seed, round(config.megabytes * 1e6)):
            row = _row(story, text) if config.output.endswith(".jsonl") else f"{text}\n"
            stream.write(f"{row}\n".encode())
            count += 1
    return count


def main() -> None:
    """The command."""
    config = cli.from_flags(StoriesConfig)
    print(f"Wrote {write(config):,} stories to {config.output}.")
    print("Next: " + cli.command_line("pipelines.train_bpe", input=config.output,
                                      output_dir=unused("bpe"), num_merges=1000))


if __name__ == "__main__":
    cli.define_flags(StoriesConfig)
    cli.run(main, makes_files=True)
