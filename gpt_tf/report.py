"""Draws runs and data: a folder of pictures, and one page, report.html, that shows them.

Of runs, the course: loss, perplexity, learning rate, speed; of fine-tuned ones their metrics:
  python -m gpt_tf.report --model_dir=runs/books,runs/other --output_dir=report

With data, also how well the runs do on a split: perplexity by position in the window; of a task
the confusion matrix or the scatter, and the reliability diagram:
  python -m gpt_tf.report --model_dir=runs/books --data_dir=data/books --output_dir=report
  python -m gpt_tf.report --model_dir=runs/sst2 --data_dir=data/sst2 --output_dir=report

Of data alone, its lengths, tokens a word, and the balance of labels:
  python -m gpt_tf.report --data_dir=data/books --output_dir=report

What each attention head looks at:
  python -m gpt_tf.report --model_dir=runs/books --prompt='It was a dark' --output_dir=report
"""

import dataclasses
import os
import shlex
import sys

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.names import split_paths
from gpt_tf.config import SOURCES, CompilationConfig, LoadingConfig, option
from gpt_tf.data.manifest import TASK, ZERO_SHOT, Manifest
from gpt_tf.evaluation import report_page
from gpt_tf.runs import metrics_log, run_folder
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer

_MOST_PROMPT_TOKENS = 32  # on the axes of a picture that can be read


@dataclasses.dataclass(frozen=True)
class ReportConfig(LoadingConfig, CompilationConfig):
    """What is drawn, and where to."""

    model_dir: str = option("", f"{SOURCES}; or several, separated by commas.", path=True)
    data_dir: str = option("", "Data folder of pipelines.build_corpus or pipelines.build_task.",
                           path=True)
    output_dir: str = option(None, "Folder to make.", required=True, path=True)
    split: str = option("validation", "Split of the data that runs are measured on.")
    prompt: str = option("", "Text over which to draw the attention of every head.")
    evaluation_batches: int = option(20, "Of a language model: batches from all over the split "
                                         "that are measured; 0 takes all.", at_least=0)
    batch_size: int = option(32, "Sequences at once; of a task, rows.", at_least=1)
    jit_compile: bool = option(True, "Compile with XLA.")
    overwrite: bool = option(False, "Replace an earlier report in --output_dir.")

    @property
    def runs(self) -> list[str]:
        """The folders that `model_dir` names, each once."""
        return list(dict.fromkeys(map(os.path.normpath, split_paths(self.model_dir))))


def load_courses(config: ReportConfig) -> dict[str, list[metrics_log.Row]]:
    """Run folder -> its rows, of the runs that were trained here.

    Raises:
      UserError: a run has reported nothing, or there is nothing else to draw of converted weights.
    """
    courses = {folder: metrics_log.load_rows(folder) for folder in config.runs}
    for folder, rows in courses.items():
        if rows:
            continue
        if not run_folder.is_converted(folder):
            run_folder.load_flags(folder)  # which says if it is no run at all
            raise UserError(f"{folder} has reported nothing yet in {metrics_log.METRICS}: wait "
                            "until its run has, or name another.")
        if not (config.data_dir or config.prompt):
            raise UserError(f"{folder} holds converted weights, which have no course to draw: "
                            "give --data_dir or --prompt.")
    return {folder: rows for folder, rows in courses.items() if rows}


def check_data(config: ReportConfig) -> Manifest:
    """The manifest of the data, if it can be drawn and the runs can be measured on it.

    Raises:
      UserError: they cannot.
    """
    data_dir = config.data_dir
    manifest = Manifest.load(data_dir)
    if manifest.kind == ZERO_SHOT:
        raise UserError(f"{data_dir} holds zero-shot data: draw it with python -m gpt_tf.zero_shot "
                        f"--data_dir={data_dir} --plot=FILE.png ...")
    if not any(split.records for split in manifest.splits.values()):
        raise UserError(f"{data_dir} has no records to draw: name other data.")
    for folder in config.runs:
        run_folder.check_data(folder, data_dir, manifest, config.weights)
    if config.runs:
        manifest.check_split(data_dir, config.split)
        if manifest.task and not manifest.splits[config.split].labelled:
            raise UserError(f"The {config.split} split of {data_dir} has no labels to measure by: "
                            "name another with --split.")
    return manifest


def encode_prompt(config: ReportConfig) -> dict[str, list[int]]:
    """Run folder -> the prompt's tokens.

    Raises:
      UserError: it has none, or more than a model takes or a picture shows.
    """
    prompts = {}
    for folder in config.runs:
        positions = run_folder.load_config(folder, config.weights).max_sequence_length
        token_ids = Tokenizer.load(folder).encode(config.prompt)
        if not token_ids:
            raise UserError("--prompt has no characters but blanks: give a text.")
        for limit, reason in ((positions, f"the model of {folder} takes"),
                              (_MOST_PROMPT_TOKENS, "a picture shows")):
            if len(token_ids) > limit:
                raise UserError(f"--prompt has {len(token_ids):,} tokens and {reason} {limit}: "
                                "give a shorter one.")
        prompts[folder] = token_ids
    return prompts


def draw_courses(courses: dict[str, list[metrics_log.Row]]) -> list[report_page.Picture]:
    """The pictures that need no TensorFlow, of runs."""
    from gpt_tf.evaluation import report_courses  # matplotlib takes a second, --help does not wait

    kinds: tuple[dict, dict] = ({}, {})
    for folder, rows in courses.items():
        kinds[run_folder.is_fine_tuned(folder)][folder] = rows
    return [*report_courses.language_model_pictures(kinds[False]),
            *report_courses.task_pictures(kinds[True]),
            *report_courses.progress_pictures(courses)]


def draw_models(config: ReportConfig, manifest: Manifest | None,
                prompts: dict[str, list[int]]) -> list[report_page.Picture]:
    """The pictures for which the runs' models are run."""
    cli.import_tensorflow()
    from gpt_tf.data.batches import evaluation_batches
    from gpt_tf.evaluation import report_model
    from gpt_tf.training import devices

    devices.warn_of_unseen()
    pictures = []
    models = report_model.Models(config.runs, config.weights, config.jit_compile)
    if manifest:
        limit = 0 if manifest.kind == TASK else config.evaluation_batches
        batches = evaluation_batches(config.data_dir, config.split, config.batch_size,
                                     manifest=manifest, limit=limit)
        if manifest.kind == TASK:
            pictures += report_model.task_pictures(models, batches, config.split)
        else:
            pictures.append(report_model.positions_picture(models, batches, config.split))
    if prompts:
        pictures += report_model.attention_pictures(models, prompts, config.prompt)
    return pictures


def main() -> None:
    """Checks everything, draws what was asked for, and writes the report."""
    config = cli.from_flags(ReportConfig)
    if not (config.runs or config.data_dir):
        raise UserError("Give --model_dir, --data_dir or both.")
    if config.prompt and not config.runs:
        raise UserError("--prompt is drawn for a run: name one with --model_dir.")
    report_page.check_target(config.output_dir, config.overwrite)
    runs = ",".join(map(resolve.run_folder, split_paths(config.model_dir)))
    config = dataclasses.replace(config, model_dir=runs)
    courses = load_courses(config)
    manifest = check_data(config) if config.data_dir else None
    prompts = encode_prompt(config) if config.prompt else {}

    from gpt_tf.evaluation import report_data

    pictures = draw_courses(courses)
    of_data = report_data.pictures(config.data_dir, manifest) if manifest else []
    if config.runs and (manifest or prompts):
        pictures += draw_models(config, manifest, prompts)
    pictures += of_data  # the last to be seen, drawn before what takes minutes
    command = shlex.join(["python", "-m", "gpt_tf.report", *sys.argv[1:]])
    report_page.write(config.output_dir, command, pictures)
    print(f"Drew {', '.join(picture.name for picture in pictures)}: open "
          f"{os.path.join(config.output_dir, report_page.PAGE)}.")


if __name__ == "__main__":
    cli.define_flags(ReportConfig)
    cli.run(main, makes_files=True)
