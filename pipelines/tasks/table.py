"""The TASKS table: what each task of the paper is, and where its published files keep what.

A task is an entry of the table, never a class or a copied script; what is wrong with a published
file stands in its entry. The files, columns and label names are those of tensorflow-datasets' own
builders; see `spec` for a user's own task.
"""

from collections.abc import Mapping
import dataclasses
import pathlib

from gpt_tf.common.errors import UserError
from gpt_tf.tasks import heuristics
from gpt_tf.tasks.forms import CLASSIFICATION, ENTAILMENT, MULTIPLE_CHOICE, SIMILARITY
from gpt_tf.tasks.tables import COLUMNS, CSV, EMPTY, JSONL, TSV
from gpt_tf.tasks.task import SUM, THRESHOLD
from pipelines.tasks import description, spec
from pipelines.tasks.description import (
    ANY,
    RACE,
    TFDS,
    WINOGRAD,
    DrawnPart,
    Layout,
    ListedPart,
    Source,
    TaskDescription,
    ZeroShot,
)

_GLUE_FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
_TFDS_SPLITS = {"train": "train", "validation": "validation", "test": "test"}


def _layout(source: Source, files: Mapping[str, str]) -> Layout:
    """Splits that differ in their file only."""
    return {split: dataclasses.replace(source, paths=(path,)) for split, path in files.items()}


def _glue(label: str, *texts: str, files: Mapping[str, str] | None = None) -> Layout:
    """GLUE's files with a header, of which the test splits have no column `label`."""
    return _layout(Source(TSV, tuple((text,) for text in texts), label), files or _GLUE_FILES)


def _catalogue(*texts: str, splits: Mapping[str, str] | None = None) -> Layout:
    """tensorflow-datasets' splits; GLUE's examples carry their number, as they are shuffled."""
    return _layout(Source(TFDS, tuple((text,) for text in texts), "label"), splits or _TFDS_SPLITS)


def _numbered(layout: Layout) -> Layout:
    return {split: dataclasses.replace(source, index="idx") for split, source in layout.items()}


def _story_cloze(source: Source, labelled: str, test: str) -> Layout:
    """Training and validation are drawn from the one labelled file, as the released program does.

    It is train_test_split(rows, test_size=374, random_state=3535999445) of its datasets.py, which
    leaves 1497 of the 1871 rows of 2016.
    """
    part = DrawnPart(held_out=374, rows=1871, seed=3535999445, is_held_out=False)
    train = dataclasses.replace(source, paths=(labelled,), part=part)
    return {"train": train,
            "validation": dataclasses.replace(
                train, part=dataclasses.replace(part, is_held_out=True)),
            "test": dataclasses.replace(source, paths=(test,))}


_ANSWER = ZeroShot(heuristics.ANSWER)


def _race(level: str) -> TaskDescription:
    """RACE's middle school or high school: the passage, the question, four answers."""
    texts = (("article",), ("question",), ("options",))
    folders = {"train": "train", "validation": "dev", "test": "test"}
    return TaskDescription(
        f"race_{level}", MULTIPLE_CHOICE, labels=("A", "B", "C", "D"), metrics=("accuracy",),
        layouts=(_layout(Source(RACE, texts, "answer"),
                         {split: f"{folder}/{level}" for split, folder in folders.items()}),),
        catalogue={f"race/{level}": _layout(Source(TFDS, texts, "answer"), folders)},
        zero_shot=_ANSWER)


_MNLI_SPLITS = ("validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
_NLI = Source(JSONL, (("sentence1",), ("sentence2",)), "gold_label")
_COLA = Source(TSV, ((3,),), 1, widths=(4,))
_MSR_TRAIN = Source(TSV, (("#1 String",), ("#2 String",)), "Quality", ("msr_paraphrase_train.txt",))
_MSR_TEST = dataclasses.replace(_MSR_TRAIN, paths=("msr_paraphrase_test.txt",))
_MSR_DEV_IDS = ListedPart("mrpc_dev_ids.tsv", ("#1 ID", "#2 ID"), is_listed=True)
_STORY = Source(CSV, (("InputSentence1", "InputSentence2", "InputSentence3", "InputSentence4"), (),
                      ("RandomFifthSentenceQuiz1",), ("RandomFifthSentenceQuiz2",)),
                "AnswerRightEnding")
_HUB_STORY = Source(ANY, (tuple(f"input_sentence_{number}" for number in range(1, 5)), (),
                          ("sentence_quiz1",), ("sentence_quiz2",)), "answer_right_ending")
_TFDS_STORY = _story_cloze(Source(TFDS, (("context",), (), ("endings",)), "label"),
                           "validation", "test")
_PRONOUN_TEXTS = (("sentence",), ("pronoun",), ("candidates",))
_DESCRIPTIONS = (
    TaskDescription(
        "cola", CLASSIFICATION, labels=("0", "1"), metrics=("matthews",),
        layouts=(
            # GLUE's files for training and validation are the original's, without a header.
            _layout(_COLA, {"train": "train.tsv", "validation": "dev.tsv"})
            | _glue("label", "sentence", files={"test": "test.tsv"}),
            _layout(_COLA, {"train": "in_domain_train.tsv", "validation": "dev_glue.tsv"}),
            {"train": dataclasses.replace(_COLA, paths=("in_domain_train.tsv",)),
             "validation": dataclasses.replace(
                 _COLA, paths=("in_domain_dev.tsv", "out_of_domain_dev.tsv"))}),
        catalogue={"glue/cola": _numbered(_catalogue("sentence"))},
        label_names=("unacceptable", "acceptable"),
        zero_shot=ZeroShot(heuristics.ACCEPTABILITY, decision=THRESHOLD)),
    TaskDescription(
        "sst2", CLASSIFICATION, labels=("0", "1"), metrics=("accuracy",),
        layouts=(_glue("label", "sentence"),),
        catalogue={"glue/sst2": _numbered(_catalogue("sentence"))},
        label_names=("negative", "positive"),
        # Of a word that is several tokens the probability is their product: the sum of the logs.
        zero_shot=ZeroShot(heuristics.NEXT_WORD, score=SUM, prompt="very",
                           words=("negative", "positive"))),
    TaskDescription(
        "snli", ENTAILMENT, labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        layouts=(_layout(_NLI, {"train": "snli_1.0_train.jsonl",
                                "validation": "snli_1.0_dev.jsonl",
                                "test": "snli_1.0_test.jsonl"}),),
        catalogue={"snli": _catalogue("premise", "hypothesis")},
        # As published, and in the numbers of data hubs.
        no_gold=("-", "-1"), defects=(description.NO_GOLD,)),
    TaskDescription(
        "mnli", ENTAILMENT, labels=("entailment", "neutral", "contradiction"),
        metrics=("accuracy",),
        layouts=(
            _glue("gold_label", "sentence1", "sentence2", files={"train": "train.tsv"} | {
                split: f"{split.replace('validation', 'dev')}.tsv" for split in _MNLI_SPLITS}),
            _layout(_NLI, {"train": "multinli_1.0_train.jsonl",
                           "validation_matched": "multinli_1.0_dev_matched.jsonl",
                           "validation_mismatched": "multinli_1.0_dev_mismatched.jsonl"})),
        catalogue={"glue/mnli": _numbered(_catalogue("premise", "hypothesis", splits={
            split: split for split in ("train", *_MNLI_SPLITS)}))},
        no_gold=("-",), defects=(description.NO_GOLD,)),
    TaskDescription(
        # The question stands first, as in the file.
        "qnli", ENTAILMENT, labels=("entailment", "not_entailment"), metrics=("accuracy",),
        layouts=(_glue("label", "question", "sentence"),),
        catalogue={"glue/qnli": _numbered(_catalogue("question", "sentence"))}),
    TaskDescription(
        "rte", ENTAILMENT, labels=("entailment", "not_entailment"), metrics=("accuracy",),
        layouts=(_glue("label", "sentence1", "sentence2"),),
        catalogue={"glue/rte": _numbered(_catalogue("sentence1", "sentence2"))}),
    TaskDescription(
        "scitail", ENTAILMENT, labels=("entails", "neutral"), metrics=("accuracy",),
        # Without quotes there are the published 27,026 rows; quote processing would merge some.
        layouts=(_layout(Source(TSV, ((0,), (1,)), 2, widths=(3,)),
                         {"train": "scitail_1.0_train.tsv", "validation": "scitail_1.0_dev.tsv",
                          "test": "scitail_1.0_test.tsv"}),),
        catalogue={"sci_tail": _catalogue("premise", "hypothesis")}),
    TaskDescription(
        "mrpc", SIMILARITY, labels=("0", "1"), metrics=("f1", "accuracy"),
        layouts=(
            _glue("Quality", "#1 String", "#2 String"),
            {"train": dataclasses.replace(
                _MSR_TRAIN, part=dataclasses.replace(_MSR_DEV_IDS, is_listed=False)),
             "validation": dataclasses.replace(_MSR_TRAIN, part=_MSR_DEV_IDS), "test": _MSR_TEST},
            {"train": _MSR_TRAIN, "test": _MSR_TEST}),
        catalogue={"glue/mrpc": _numbered(_catalogue("sentence1", "sentence2"))},
        label_names=("not_equivalent", "equivalent")),
    TaskDescription(
        "qqp", SIMILARITY, labels=("0", "1"), metrics=("f1", "accuracy"),
        layouts=(_glue("is_duplicate", "question1", "question2"),),
        catalogue={"glue/qqp": _numbered(_catalogue("question1", "question2"))},
        label_names=("not_duplicate", "duplicate"),
        # Some questions have a line break inside, and a few have no text.
        defects=(COLUMNS, EMPTY)),
    TaskDescription(
        "stsb", SIMILARITY, labels=(), metrics=("pearson", "spearman"), score_range=(0, 5),
        layouts=(
            _glue("score", "sentence1", "sentence2"),
            # Some rows name the origin of both sentences in two columns more.
            _layout(Source(TSV, ((5,), (6,)), 4, widths=(7, 9)),
                    {"train": "sts-train.csv", "validation": "sts-dev.csv",
                     "test": "sts-test.csv"})),
        catalogue={"glue/stsb": _numbered(_catalogue("sentence1", "sentence2"))}),
    TaskDescription(
        "story_cloze", MULTIPLE_CHOICE, labels=("1", "2"), metrics=("accuracy",),
        # The names under which they are handed out, then those of tensorflow-datasets.
        layouts=(
            _story_cloze(_STORY, "cloze_test_val__spring2016 - cloze_test_ALL_val.csv",
                         "cloze_test_test__spring2016 - cloze_test_ALL_test.csv"),
            _story_cloze(_STORY, "cloze_test_val__winter2018-cloze_test_ALL_val - 1 - 1.csv",
                         "cloze_test_test__winter2018-cloze_test_ALL_test - 1.csv"),
            _story_cloze(_STORY, "cloze_test_val__winter2018-cloze_test_ALL_val.csv",
                         "cloze_test_test__winter2018-cloze_test_ALL_test.csv"),
            _story_cloze(_STORY, "cloze_test_val__spring2016.csv",
                         "cloze_test_test__spring2016.csv"),
            _story_cloze(_STORY, "cloze_test_val__winter2018.csv",
                         "cloze_test_test__winter2018.csv")),
        catalogue={name: _TFDS_STORY
                   for name in ("story_cloze", "story_cloze/2016", "story_cloze/2018")},
        exported=_story_cloze(_HUB_STORY, "validation", "test"),
        zero_shot=_ANSWER),
    _race("middle"),
    _race("high"),
    TaskDescription(
        # Winograd schemas are files of this layout, too. A label is the candidate's number.
        "dpr", heuristics.PRONOUN, labels=("0", "1"), metrics=("accuracy",),
        layouts=(_layout(Source(WINOGRAD, _PRONOUN_TEXTS, "label"),
                         {"train": "train.c.txt", "test": "test.c.txt"}),),
        catalogue={"definite_pronoun_resolution": _layout(
            Source(TFDS, _PRONOUN_TEXTS, "label"), {"train": "train", "test": "test"})},
        # What cannot be resolved: no such pronoun in the sentence, an answer that is no candidate.
        defects=(description.NO_PRONOUN, description.BAD_LABEL),
        zero_shot=ZeroShot(heuristics.PRONOUN)),
)


def _with_exported(task: TaskDescription) -> TaskDescription:
    """A data hub's columns are those of tensorflow-datasets, unless the table has others."""
    theirs = next(iter(task.catalogue.values()))
    exported = task.exported or {
        split: dataclasses.replace(source, kind=ANY) for split, source in theirs.items()}
    return dataclasses.replace(task, exported=exported)


TASKS = {task.name: _with_exported(task) for task in _DESCRIPTIONS}

# A folder for each labelled set that comes with the package: spec.json and its rows.
SAMPLES = pathlib.Path(__file__).resolve().parent.parent / "samples"


def find_spec(name: str) -> str:
    """The path of the spec.json that `name` means: its own, or a sample's; "" if it means none.

    Example: find_spec("tickets/spec.json"), and find_spec("reviews"), which comes with the package.
    """
    if name.endswith(".json"):
        return name
    samples = {path.parent.name: str(path) for path in SAMPLES.glob("*/spec.json")}
    return samples.get(name, "")


def find_task(name: str) -> TaskDescription:
    """The task of that name, or of GLUE's spelling of it, or that of a spec.json.

    Example: find_task("sst2"), find_task("SST-2"), find_task("tickets/spec.json"),
      find_task("reviews").

    Raises:
      UserError: there is no such task, or the spec is missing or wrong.
    """
    if path := find_spec(name):
        return spec.load(path)
    for task in TASKS.values():
        if _letters(task.name) == _letters(name):
            return task
    raise UserError(f"--task={name} is not known: name one of {', '.join(TASKS)}, the sample "
                    "reviews, or a .json file that describes your own (see "
                    "pipelines/tasks/spec.py).")


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
