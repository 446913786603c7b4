"""Answers of a fine-tuned run to texts, one line for each.

  python -m gpt_tf.predict --model_dir=runs/sst2 < sentences.txt
  python -m gpt_tf.predict --model_dir=runs/mnli --input=pairs.tsv --output=answers.tsv
  python -m gpt_tf.predict --model_dir=runs/race --input=questions.jsonl --probabilities

The input is a file that pipelines.build_task takes for this task, or
  lines    one text a line (.txt), of a task of one text
  tsv      the texts of a row with tabs between: premise, hypothesis; first, second; or context,
           question, answers
  csv      columns of these names, or of those of the task's own files; tsv may have such, too
  jsonl    an object a line with these names, "answers" a list
  parquet  columns of these names
and standard input lines, or TSV where the task needs several texts, unless --format says other.

A line of output is the label or the score, and with --probabilities those of the classes, in the
order that standard error shows; or {"prediction": ..., "probabilities": {...}}.

A blank line between others is an error, unless --on_blank_line=skip leaves such lines out and
counts them, or --on_blank_line=empty gives each a line of output with nothing in it (null in
JSONL), so that the lines of input and output stay side by side.
"""

from collections.abc import Iterator
import dataclasses
import itertools
import os
import sys

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError, written_out
from gpt_tf.common.files import STANDARD, open_input, open_output
from gpt_tf.config import LoadingConfig, option
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tasks.answers import answers, class_names, json_line, tsv_line
from gpt_tf.tasks.forms import FIELDS
from gpt_tf.tasks.lines import FORMATS, LINES, read_texts
from gpt_tf.tasks.table_files import UTF8, check_encoding
from gpt_tf.tasks.tables import ENDINGS, TSV, kind_of
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer

_AUTO = "auto"
_POOL = 32  # batches that are read at once
_STOP, _SKIP, _EMPTY = "stop", "skip", "empty"  # what to do about a blank line


@dataclasses.dataclass(frozen=True)
class PredictionConfig(LoadingConfig):
    """Which run answers, what is read and written, and how."""

    model_dir: str = option(None, "Run folder of gpt_tf.finetune, or preset, .keras file or "
                                 "hf:// handle of a classifier.", required=True, path=True)
    input: str = option(STANDARD, "File of texts; - is standard input.", path=True)
    format: str = option(_AUTO, "Kind of input; auto goes by the file's ending.",
                         choices=(_AUTO, *FORMATS))
    output: str = option(STANDARD, "File to make; - is standard output.", path=True)
    output_format: str = option(_AUTO, "Kind of output; auto is jsonl where --output ends so, "
                                       "else tsv.", choices=(_AUTO, "tsv", "jsonl"))
    probabilities: bool = option(False, "Also give the probability of each class.")
    on_blank_line: str = option(_STOP, "What to do about a blank line between others: stop, skip "
                                "it, or give it an empty answer.", choices=(_STOP, _SKIP, _EMPTY))
    encoding: str = option(UTF8, "Encoding of the input, such as utf-16, latin-1 or cp1252.")
    batch_size: int = option(32, "Texts at once.", at_least=1)

    def __post_init__(self):
        super().__post_init__()
        check_encoding(self.encoding)

    def input_kind(self, form: str) -> str:
        """One of `lines.FORMATS`, for a task of this form.

        Raises:
          UserError: the file's ending does not say.
        """
        if self.format != _AUTO:
            return self.format
        if self.input == STANDARD:
            return LINES if len(FIELDS[form]) == 1 else TSV
        kind = LINES if self.input.lower().endswith(".txt") else kind_of(self.input)
        if kind is None:
            raise UserError(f"{self.input} ends in none of .txt, {', '.join(ENDINGS)}: say what it "
                            "is with --format.")
        return kind

    @property
    def writes_json(self) -> bool:
        """Whether the output is JSONL."""
        return self.output_format == "jsonl" or (
            self.output_format == _AUTO and self.output.endswith(".jsonl"))


def lines_of(task: Task, found, config: PredictionConfig) -> Iterator[str]:
    """The lines of output for `found`, a `predictor.Predictions`."""
    for answer, shares in zip(answers(task, found.predictions), found.probabilities):
        shares = shares if config.probabilities else ()
        if config.writes_json:
            yield json_line(answer, dict(zip(class_names(task), shares)))
        else:
            yield tsv_line(answer, shares)


def _line_of_blank(task: Task, config: PredictionConfig) -> str:
    """The line of output for a blank line: nothing in as many columns as others have, or none."""
    if config.on_blank_line == _SKIP:
        return ""
    if config.writes_json:
        return json_line(None, {})
    return "\t" * (len(class_names(task)) if config.probabilities else 0) + "\n"


def _answer_all(task: Task, rows: list[tuple[list[str], str]], answerer,
                config: PredictionConfig) -> str:
    """The lines of output for `rows`, of which some may have no texts."""
    filled = [row for row in rows if row[0]]
    lines = lines_of(task, answerer(filled), config) if filled else iter(())
    return "".join(next(lines) if texts else _line_of_blank(task, config) for texts, _ in rows)


def predict(config: PredictionConfig) -> None:
    """Reads, answers and writes.

    Raises:
      UserError: the run, a file or a line is not what is expected.
    """
    task, _ = run_folder.load_task(config.model_dir)
    run_folder.load_config(config.model_dir, config.weights)
    Tokenizer.load(config.model_dir)
    kind = config.input_kind(task.form)
    where = "standard input" if config.input == STANDARD else config.input
    if config.input != STANDARD and os.path.isfile(config.output) and os.path.exists(
            config.input) and os.path.samefile(config.input, config.output):
        raise UserError(f"--output={config.output} is what --input names: name another file.")
    with open_input(config.input) as source, open_output(config.output) as target:
        cli.import_tensorflow()  # here, so that nobody waits for it to be told of a mistake
        from gpt_tf.evaluation.answering import Answerer
        from gpt_tf.training import devices

        devices.warn_of_unseen()
        # Somebody who types expects an answer to each line; a file is answered in batches, of
        # which a few are read at once, so that texts of like length stand in one.
        is_typed = source.isatty()
        batch_size = 1 if is_typed else config.batch_size
        answerer = Answerer(config.model_dir, batch_size, config.weights)
        if is_typed:
            print(f"Give {', '.join(FIELDS[task.form])} as {kind}, a row a line; Ctrl-D ends.",
                  file=sys.stderr)
        if config.probabilities and not config.writes_json:
            names = written_out(", ".join(class_names(task)))
            print(f"Columns: prediction, {names}", file=sys.stderr)
        rows = ((texts, place) for place, texts in read_texts(
            task, source, kind, where, config.on_blank_line != _STOP, config.encoding))
        blank = 0
        while pool := list(itertools.islice(rows, 1 if is_typed else _POOL * batch_size)):
            blank += sum(not texts for texts, _ in pool)
            target.write(_answer_all(task, pool, answerer, config).encode("utf-8"))
            target.flush()
    if blank:
        print(f"{blank:,} blank {'line' if blank == 1 else 'lines'} "
              f"{'left out' if config.on_blank_line == _SKIP else 'answered with nothing'}.",
              file=sys.stderr)
    if answerer.shortened:
        print(f"{answerer.shortened:,} of {answerer.answered:,} rows were too long for the model "
              "and were shortened.", file=sys.stderr)
    answerer.unknown.tell()


def main() -> None:
    """Predicts."""
    config = cli.from_flags(PredictionConfig)
    predict(dataclasses.replace(config, model_dir=resolve.fine_tuned_run(config.model_dir)))


if __name__ == "__main__":
    cli.define_flags(PredictionConfig)
    cli.run(main)
