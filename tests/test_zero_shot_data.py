"""Zero-shot data: which texts make a sequence, and which of its tokens are scored."""

import ast
import inspect
import json
import textwrap

from etils import epath
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.text import definite_pronoun_resolution

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import write_recorded
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.tasks import heuristics
from gpt_tf.tasks.forms import Sequences
from gpt_tf.tasks.heuristics import find_pronoun, prompts, scored_sequences
from gpt_tf.tokenizer import Tokenizer
from pipelines import build_task
from pipelines.build_task import TaskConfig
from pipelines.building import frame
from pipelines.tasks.rows import open_task
from pipelines.tasks.table import TASKS, find_task
from tests import corpora
from tests.task_files import PUBLISHED, write_files
from tests.zero_shot_files import FILES, SCHEMAS

tokenizer_fixture = corpora.tokenizer_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture

ZERO_SHOT = [name for name, task in TASKS.items() if task.zero_shot]


# Texts.

@pytest.mark.parametrize("function", [prompts, scored_sequences], ids=lambda f: f.__name__)
def test_worked_examples(function):
    block = inspect.getdoc(function).partition("Example:\n")[2].partition("\n\n")[0]
    examples = ast.parse(textwrap.dedent(block)).body
    assert len(examples) >= 2
    for code in map(ast.unparse, examples):
        assert eval(code, vars(heuristics)), code


def test_the_whole_text_is_scored_for_acceptability():
    assert prompts(heuristics.ACCEPTABILITY, ["He left."]) == [((), "He left.")]


@pytest.mark.parametrize("sentence, pronoun, found", [
    ("The sword was in the tree because it grew around it.", "it", (34, 36)),  # the first
    ("Its wit, sitting: it fits.", "it", (18, 20)),  # a whole word
    ("He said he's in.", "he", (8, 10)),  # spelled the same, and before an apostrophe
    ("He left.", "he", (0, 2)), ("he left.", "He", (0, 2)),
    ("when the man was", "the man", (5, 12)), ("saw \u00e9it, it", "it", (9, 11)),
    ("They hit a.b at a+b", "a+b", (16, 19)),
])
def test_the_pronoun_that_is_meant(sentence, pronoun, found):
    assert find_pronoun(sentence, pronoun).span() == found


@pytest.mark.parametrize("sentence, pronoun", [("Its end", "it"), ("the theme", "he"), ("", "it")])
def test_no_such_pronoun(sentence, pronoun):
    assert find_pronoun(sentence, pronoun) is None


# Tokens.

@pytest.mark.parametrize("pairs, max_length, wanted, starts, shortened", [
    ([([1, 2], [3])], 3, [[1, 2, 3]], [2], False),
    ([([1, 2], [3])], 2, [[2, 3]], [1], True),
    # The longest scored part says how much context all have.
    ([([1, 2, 3], [4]), ([1, 2, 3], [5, 6, 7])], 5, [[2, 3, 4], [2, 3, 5, 6, 7]], [2, 2], True),
    # Contexts of candidates differ in length.
    ([([1], [5, 6]), ([2, 3, 4], [5, 6])], 4, [[1, 5, 6], [3, 4, 5, 6]], [1, 2], True),
    # Nothing predicts the first token.
    ([([], [1, 2, 3])], 3, [[1, 2, 3]], [1], False),
])
def test_the_context_gives_way_from_its_front(pairs, max_length, wanted, starts, shortened):
    assert scored_sequences(pairs, max_length) == Sequences(wanted, shortened, starts)


@pytest.mark.parametrize("pairs, max_length, message", [
    ([([1], [2, 3])], 2, "2 tokens are to be scored"), ([([], [1, 2, 3])], 2, "2 tokens are to be"),
    ([([1], [])], 9, "nothing to score"), ([([], [1])], 9, "nothing to score"),
    ([([1], [2]), ([1], [])], 9, "nothing to score"), ([([], [])], 9, "nothing to score")])
def test_what_cannot_be_scored(pairs, max_length, message):
    with pytest.raises(ValueError, match=message):
        scored_sequences(pairs, max_length)


# Rows.

def read(path, on_bad_row="stop"):
    source = open_task(find_task("dpr"), str(path), "", on_bad_row)["train"]
    return list(source.rows()), dict(source.left_out)


def test_rows_of_a_schema_file(tmp_path):
    path = tmp_path / "wsc.txt"
    # A byte order mark, Windows' line ends, no line end and several blank lines.
    text = "\ufeff" + SCHEMAS.replace("\n\n", "\n \n\n").strip("\n").replace("\n", "\r\n")
    path.write_bytes(text.encode())
    rows, left_out = read(path)
    assert [row[:3] for row in rows] == [
        (0, ("The ant hit the dad as it had it.", "it", "The ant", "the dad"), 1),
        (1, ("He's in.", "he", "Ann", "Dan"), 0)]
    assert [row.where for row in rows] == [f"{path}, line 1", f"{path}, line 7"]
    assert not left_out


def test_rows_that_cannot_be_resolved_are_counted(tmp_path):
    path = tmp_path / "schemas.txt"
    path.write_text(SCHEMAS + "\nIts end.\nit\na,b\na\n\nIt ends.\nit\na,b\nc\n")
    rows, left_out = read(path)
    assert [row.index for row in rows] == [0, 1]
    assert left_out == {"no such pronoun": 1, "unknown label": 1}


@pytest.mark.parametrize("block, message", [
    ("It ends.\nit\na,b\n", "line 11: 3 lines where there should be 4"),
    ("It ends.\nit\na,b\na\na\n", "line 11: 5 lines where there should be 4"),
    ("It ends.\nit\na,b,c\na\n", "line 11: 5 texts where there should be 4"),
    ("It ends.\nit\na,\na\n", "line 11: a text is empty")])
def test_blocks_that_are_none_are_named(tmp_path, block, message):
    path = tmp_path / "schemas.txt"
    path.write_text(SCHEMAS + "\n" + block)
    with pytest.raises(UserError, match=f"schemas.txt, {message}.*--on_bad_row=skip"):
        read(path)
    assert sum(read(path, "skip")[1].values()) == 1


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    path = tmp_path / "schemas.txt"
    path.write_bytes(SCHEMAS.encode() + b"\nIt \xff.\nit\na,b\na\n")
    with pytest.raises(UserError, match="schemas.txt, line 11: byte 3 is not UTF-8"):
        read(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own imports
def test_published_schemas_are_those_of_the_catalogue(shared_data):
    """All 1316 rows, as tensorflow-datasets' own reader has them."""
    path = shared_data / "tasks" / "DPR" / "train.c.txt"
    rows, left_out = read(path)
    theirs = definite_pronoun_resolution.DefinitePronounResolution._generate_examples(
        None, epath.Path(path))
    assert [row[:3] for row in rows] == [
        (index, (each["sentence"], each["pronoun"], *each["candidates"]), each["label"])
        for index, each in theirs]
    assert len(rows) == 1316 and not left_out
    folder = open_task(find_task("dpr"), str(path.parent), "", "stop")
    assert list(folder) == ["train"] and len(list(folder["train"].rows())) == 1316


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_prepared_data_set_holds_the_same_rows(tmp_path, monkeypatch):
    schemas = {"train": SCHEMAS, "test": "They sat.\nthey\nMen,boys\nMen\n"}
    paths = {split: tmp_path / f"{split}.c.txt" for split in schemas}
    for split, text in schemas.items():
        # The library needs a blank line at the end, and the answer spelled as the candidate.
        paths[split].write_text(text.replace("\nann\n", "\nAnn\n") + "\n")
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda *_: paths)
    tfds.builder("definite_pronoun_resolution",
                 data_dir=str(tmp_path / "prepared")).download_and_prepare()
    task = find_task("dpr")
    theirs, ours = (open_task(task, *given, "stop") for given in (
        ("tfds:definite_pronoun_resolution", str(tmp_path / "prepared")), (str(tmp_path), "")))
    assert list(theirs) == list(ours) == ["train", "test"]
    for split, source in ours.items():
        assert sorted(each[1:3] for each in theirs[split].rows()) == sorted(
            each[1:3] for each in source.rows())


@pytest.mark.parametrize("task, given", [("dpr", "DPR/train.c.txt"), ("race_middle", "RACE"),
                                         ("sst2", "SST-2")])
def test_parts_encoded_apart_are_the_text_encoded_whole(shared_data, task, given):
    """The joints are where words end, in every published row; 500 of the larger sets."""
    tokenizer = Tokenizer.load(shared_data / "gpt1_bpe")
    description = find_task(task)
    sources = open_task(description, str(shared_data / "tasks" / given), "", "stop")
    how = description.zero_shot
    rows = list(list(sources.values())[-1].rows())
    assert len(rows) >= 500
    for each in rows if task == "dpr" else rows[:500]:
        for context, scored in prompts(how.heuristic, each.texts, how.prompt, how.words):
            apart = sum(map(tokenizer.encode, [*context, scored]), [])
            glue = "" if task == "dpr" else " "
            assert apart == tokenizer.encode(glue.join([*context, scored])), each.where


# The folder.

@pytest.fixture(name="build")
def build_fixture(tmp_path, tokenizer_dir, monkeypatch):
    """Calls `build_task.build` on a task's files, in this process."""
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)

    def build(task, files=None, **flags):
        source = write_files(tmp_path / "source" / task, files or FILES[task])
        flags = dict(task=task, input=str(source), tokenizer=str(tokenizer_dir), num_workers=1,
                     output_dir=str(tmp_path / "data"), zero_shot=True) | flags
        return build_task.build(TaskConfig(**flags))
    return build


def read_split(folder, split):
    """(index, label, sequences, starts) of all records, by TensorFlow's own reader."""
    rows = []
    for path in sorted(folder.glob(f"{split}-*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            value = {name: list(feature[name].int64_list.value) for name in feature}
            ids = tf.RaggedTensor.from_row_lengths(value["token_ids"], value["lengths"])
            rows.append((*value["index"], *value["label"], ids.to_list(), value["starts"]))
    return rows


def wanted(tokenizer, *pairs):
    """Sequences and starts of (context, scored) texts; the first token stands for no context."""
    ids = [(tokenizer.encode(context), tokenizer.encode(scored)) for context, scored in pairs]
    return ([context + scored for context, scored in ids],
            [len(context) or 1 for context, _ in ids])


def test_acceptability(build, tokenizer, tmp_path):
    manifest = build("cola")
    assert read_split(tmp_path / "data", "validation") == [
        (0, 1, *wanted(tokenizer, ("", "in the end."))),
        (1, 0, *wanted(tokenizer, ("", "the and in")))]
    task = manifest.task
    assert (task.num_sequences, task.score, task.decision) == (1, "mean", "threshold")
    assert (task.metrics, task.labels) == (("matthews",), ("0", "1"))
    # the end. = the e n d . ; and and ; in the e n d ; the the the
    assert manifest.splits["train"].predicted_tokens == 4 + 1 + 4 + 2


def test_next_word(build, tokenizer, tmp_path):
    manifest = build("sst2")
    assert read_split(tmp_path / "data", "validation") == [(0, 1, *wanted(
        tokenizer, ("and then very", "negative"), ("and then very", "positive")))]
    task = manifest.task
    assert (task.score, task.decision, task.words) == ("sum", "highest", ("negative", "positive"))
    # Eight tokens for each word, as this vocabulary has no more than letters.
    assert manifest.splits["validation"].predicted_tokens == 16


def test_next_word_of_bytes(build, tmp_path):
    """The space of each joint goes with what follows it, as in the text."""
    tokenizer = corpora.make_byte_level_tokenizer()
    tokenizer.save(tmp_path / "bytes")
    build("sst2", tokenizer=str(tmp_path / "bytes"))  # its text ends with a space
    assert read_split(tmp_path / "data", "validation") == [(0, 1, *wanted(
        tokenizer, ("and then very", " negative"), ("and then very", " positive")))]


def test_answer(build, tokenizer, tmp_path):
    manifest = build("race_middle")
    context = "it's warm\nin the _ end"
    assert read_split(tmp_path / "data", "validation") == [(0, 1, *wanted(
        tokenizer, *((context, answer) for answer in ("a", "in the end", "and", "the"))))]
    task = manifest.task
    assert (task.num_sequences, task.score, task.decision) == (4, "mean", "highest")
    assert list(manifest.splits) == ["validation"]


def test_story(build, tokenizer, tmp_path):
    manifest = build("story_cloze", PUBLISHED["story_cloze"])
    rows = {row[0]: row[1:] for row in read_split(tmp_path / "data", "test")}
    assert rows[0] == (0, *wanted(tokenizer, ("Ann 0. Two. Three. Four.", "Good, 0."),
                                  ("Ann 0. Two. Three. Four.", "Bad.")))
    assert (manifest.task.score, manifest.task.decision) == ("mean", "highest")


def test_pronoun(build, tokenizer, tmp_path):
    manifest = build("dpr")
    rows = read_split(tmp_path / "data", "train")
    assert rows == [
        (0, 1, *wanted(tokenizer, ("The ant hit the dad as The ant", "had it."),
                       ("The ant hit the dad as the dad", "had it."))),
        (1, 0, *wanted(tokenizer, ("Ann", "'s in."), ("Dan", "'s in.")))]
    assert manifest.task.name == "dpr" and manifest.task.form == "pronoun"
    assert (manifest.task.score, manifest.task.decision) == ("mean", "highest")


def test_the_folder_describes_itself(build, tmp_path, capsys):
    for task in ("cola", "sst2", "race_middle", "dpr"):
        manifest = build(task, overwrite=True)
        assert Manifest.load(tmp_path / "data") == manifest
        assert manifest.kind == "zero_shot" and manifest.flags["zero_shot"]
        assert "Next, text to pre-train a run on: python -m pipelines.bu" in capsys.readouterr().out


def test_no_rows_are_taken_for_validation(build):
    """They need no part of their own, as nothing is trained."""
    assert list(build("dpr", validation_fraction=0.5).splits) == ["train"]


def test_batches_say_what_is_scored(build, tokenizer, tmp_path):
    build("dpr")
    batch, = evaluation_batches(tmp_path / "data", "train", 3)
    assert batch["split_positions"].numpy().tolist() == [1, 0, -1]
    _, second = wanted(tokenizer, ("Ann", "'s in."), ("Dan", "'s in."))
    assert batch["starts"].numpy()[[0, 2]].tolist() == [second, [0, 0]]
    assert batch["lengths"].numpy()[2].tolist() == [0, 0]


def test_a_long_context_gives_way(build, tokenizer, tmp_path):
    manifest = build("dpr", max_length=12)
    rows = read_split(tmp_path / "data", "train")
    rest = tokenizer.encode("had it.")
    for sequence, start in zip(*rows[0][2:]):
        assert len(sequence) == 12 and sequence[start:] == rest
    assert manifest.splits["train"].shortened == 1


def test_what_cannot_be_scored_is_named_or_counted(build):
    with pytest.raises(UserError, match="train.c.txt, line 1: 6 tokens are to be scored, and one "
                       "before them is expected, and --max_length=6; correct or remove the "
                       "row, or"):
        build("dpr", max_length=6)
    manifest = build("dpr", max_length=6, on_bad_row="skip", overwrite=True)
    assert manifest.splits["train"].left_out == {"nothing to score, or too much": 1}
    files = {"train.c.txt": SCHEMAS.encode() + b"\nThe end of it\nit\na,b\na\n"}
    with pytest.raises(UserError, match="line 11: there is nothing to score"):
        build("dpr", files, overwrite=True)


@pytest.mark.parametrize("task, zero_shot, message", [
    ("dpr", False, "--task=dpr is only measured as it is: .*add --zero_shot"),
    ("mrpc", True, "no heuristic for mrpc, only for cola, sst2, story_cloze, race_middle, race_high"
                   ", dpr; leave the flag out"),
])
def test_tasks_that_do_not_fit_the_flag(build, task, zero_shot, message):
    with pytest.raises(UserError, match=message):
        build(task, FILES["dpr"], zero_shot=zero_shot)


def test_one_file_of_a_task(build, tmp_path):
    source = write_files(tmp_path / "one", FILES["sst2"] | FILES["cola"])
    assert list(build("sst2", input=f"{source}/train.tsv").splits) == ["train"]
    # Which of cola's layouts a file has is seen by its columns.
    assert list(build("cola", input=f"{source}/in_domain_train.tsv", overwrite=True).splits) == [
        "train"]
    with pytest.raises(UserError, match="train.tsv is no file of race_middle: it has .*, and "
                       "article, question, options, answer are looked for"):
        build("race_middle", input=f"{source}/train.tsv", overwrite=True)


def test_every_task_of_section_5_has_its_row():
    assert ZERO_SHOT == ["cola", "sst2", "story_cloze", "race_middle", "race_high", "dpr"]
    for name in ZERO_SHOT:
        task = TASKS[name].zero_shot_task()
        assert task.heuristic in heuristics.HEURISTICS and task.metrics[0] in ("accuracy",
                                                                               "matthews")


@pytest.mark.parametrize("change, message", [
    ({"decision": "lowest"}, "does not say how scores become classes"),
    ({"score": "max"}, "does not say how"), ({"num_sequences": 1}, "has other sequences than 1"),
    ({"decision": "threshold"}, "has other sequences than 2"),
    ({"words": "a"}, "words cannot be 'a'"),
    ({"prompt": None}, "prompt cannot be None")])
def test_altered_manifest_is_refused(build, tmp_path, change, message):
    build("dpr")
    path = tmp_path / "data" / "manifest.json"
    value = json.loads(path.read_text())
    value["task"].update(change)
    write_recorded(path, json.dumps(value).encode())
    with pytest.raises(UserError, match=message):
        Manifest.load(tmp_path / "data")
