"""Continues texts with the weights of a run's best validation, or with its newest.

  python -m gpt_tf.generate --model_dir=runs/books --prompt='It was a dark' \\
      --max_new_tokens=80 --top_p=0.9
  python -m gpt_tf.generate --model_dir=runs/books --prompts_file=prompts.txt --num_samples=3 \\
      > texts.jsonl
  head -3 prompts.txt | python -m gpt_tf.generate --model_dir=runs/books --stop='.'

One prompt's one text is printed as it grows. Several prompts, one a line of a file or of standard
input, are continued in batches, each as it would be alone; they, several samples and
--log_probabilities are printed as JSONL, an object for each text, in their order: prompt (the
line's number, from 1), sample, text, finish ("length", "stop" at a stop string, "limit" where the
model's positions are full), log_probability (the sum of the new tokens', in nats), and on demand
token_ids and log_probabilities of the new tokens.

Blank lines of a file are passed over, and every other line is a prompt: no sign makes a comment
of it. An empty prompt (--prompt='') starts a text from nothing: as after a line break, which is no
part of it.
"""

from collections.abc import Iterator
import dataclasses
import functools
import itertools
import json
import sys
from typing import BinaryIO

from absl import flags

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import STANDARD, open_input
from gpt_tf.common.text_files import number_lines
from gpt_tf.config import (
    SOURCES,
    CompilationConfig,
    GenerationConfig,
    LoadingConfig,
    SamplingConfig,
    option,
)
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class WritingConfig(LoadingConfig, CompilationConfig):
    """Which run writes, and what is read and written."""

    model_dir: str = option(None, f"{SOURCES}.", required=True, path=True)
    prompt: str | None = option(None, "Text to continue.")
    prompts_file: str = option(STANDARD, "File of prompts, one a line, blank lines passed over; - "
                                         "is standard input.", path=True)
    num_samples: int = option(1, "Continuations of each prompt.", at_least=1)
    log_probabilities: bool = option(False, "Write JSONL with the new tokens' ids and "
                                            "log-probabilities.")
    batch_size: int = option(8, "Texts that grow together.", at_least=1)


def read_prompts(stream: BinaryIO, where: str) -> Iterator[tuple[int, str, str]]:
    """Yields (its number, prompt, where it stands) of each line that is not blank.

    Raises:
      UserError: a line is not UTF-8, or there is none.
    """
    number = 0
    for number, line in number_lines(stream):
        if not line:
            continue
        try:
            yield number, line.decode("utf-8").rstrip("\r\n"), f"{where}, line {number}"
        except UnicodeDecodeError as error:
            raise UserError(f"{where}, line {number} is not UTF-8 text ({error.reason}): convert "
                            "the file.") from error
    if not number:
        raise UserError(f"{where} holds no prompt: give one on each line.")


def _json_line(text, number: int, config: WritingConfig) -> str:
    value = {"prompt": number, "sample": text.sample, "text": text.text, "finish": text.finish,
             "log_probability": sum(text.log_probabilities)}
    if config.log_probabilities:
        value |= {"token_ids": text.token_ids, "log_probabilities": text.log_probabilities}
    return json.dumps(value, ensure_ascii=False)


def _encode(writer, prompt: str, where: str) -> list[int]:
    """The prompt's tokens; says how many of its characters the vocabulary lacks."""
    token_ids = writer.encode(prompt, where)
    unknown = token_ids.count(writer.tokenizer.unknown_id)
    if unknown:
        print(f"{where}: the vocabulary lacks {unknown:,} of its characters, which the model reads "
              "as <unk>.", file=sys.stderr)
    return token_ids


def _write_all(writer, prompts: Iterator[tuple[int, str, str]], config: WritingConfig) -> None:
    """Continues all prompts, a batch at a time."""
    encoded = ((number, _encode(writer, prompt, where)) for number, prompt, where in prompts)
    while batch := list(itertools.islice(encoded,
                                         max(1, config.batch_size // config.num_samples))):
        numbers, token_ids = zip(*batch)
        for i, text in enumerate(writer.write(token_ids, config.num_samples)):
            print(_json_line(text, numbers[i // config.num_samples], config))
        sys.stdout.flush()


def _show(text: str) -> None:
    print(text, end="", flush=True)


def _load_writer(config: WritingConfig, generation: GenerationConfig, sampling: SamplingConfig,
                 tokenizer: Tokenizer):
    """The `writer.Writer` of the run; says whose weights it has."""
    cli.import_tensorflow()  # here, so that nobody waits for it to be told of a mistake
    from gpt_tf.generation.generator import Generator
    from gpt_tf.generation.writer import Writer
    from gpt_tf.runs import weights
    from gpt_tf.training import devices

    devices.warn_of_unseen()
    model, step = weights.load_model(config.model_dir, weights=config.weights)
    print(run_folder.name_weights(config.model_dir, step, config.weights), file=sys.stderr)
    return Writer(Generator(model, sampling, generation), tokenizer, generation.max_new_tokens,
                  flags.FLAGS.stop)


def main() -> None:
    """Continues the prompt, or those of a file or of standard input."""
    config, generation = cli.from_flags(WritingConfig), cli.from_flags(GenerationConfig)
    sampling = cli.from_flags(SamplingConfig)
    if "" in flags.FLAGS.stop:
        raise UserError("--stop= is empty, and every text would end before it began: give it a "
                        "string, or leave it out.")
    if cli.is_given("prompt") and cli.is_given("prompts_file"):
        raise UserError("--prompt and --prompts_file say two things: give one of them.")
    config = dataclasses.replace(config, model_dir=resolve.run_folder(config.model_dir))
    run_folder.load_config(config.model_dir, config.weights)
    load = functools.partial(_load_writer, config, generation, sampling,
                             Tokenizer.load(config.model_dir))
    if cli.is_given("prompt"):
        writer = load()
        if config.num_samples == 1 and not config.log_probabilities:
            writer.stream(_encode(writer, config.prompt, "--prompt"), _show)
            print()
        else:
            _write_all(writer, iter([(1, config.prompt, "--prompt")]), config)
        return
    with open_input(config.prompts_file) as stream:
        writer = load()
        if stream.isatty():
            print("Give a prompt a line; Ctrl-D ends.", file=sys.stderr)
        where = "standard input" if config.prompts_file == STANDARD else config.prompts_file
        _write_all(writer, read_prompts(stream, where), config)


if __name__ == "__main__":
    # The flag of a field cannot be given several times.
    flags.DEFINE_multi_string("stop", [], "A text ends before this string, as texts are printed "
                                          "(a tokenizer of kind gpt1: in lower case); may be given "
                                          "several times.")
    for config_class in (GenerationConfig, SamplingConfig, WritingConfig):
        cli.define_flags(config_class)
    cli.run(main)
