"""Apache Beam makes the same bytes as this machine alone, and says the same of what is wrong.

Needs requirements-beam.txt (`make test-peers`). The processes that Beam starts find our modules
because pytest runs in the root of the repository.
"""

import gzip
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("apache_beam", reason="needs requirements-beam.txt")
from apache_beam.options import pipeline_options

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import Tokenizer, WordTokenizer
from pipelines import build_corpus, build_task
from pipelines.building import frame, notes, parcels
from pipelines.tasks import splits, table
from tests import corpora
from tests.conftest import REPOSITORY
from tests.corpora import contents, make_text
from tests.task_files import PUBLISHED, write_files

# Fixtures are found by name.
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture

IN_MEMORY = []
TWO_PROCESSES = ["--direct_num_workers=2", "--direct_running_mode", "multi_processing"]
both_modes = pytest.mark.parametrize("beam_options", [IN_MEMORY, TWO_PROCESSES],
                                     ids=["in_memory", "processes"])


@pytest.fixture(name="corpus_of")
def corpus_of_fixture(tmp_path, tokenizer_dir):
    """Calls `build_corpus.build`; returns the folder, whose name is the first argument."""
    def build(folder, beam_options=(), **flags):
        flags = dict(tokenizer=str(tokenizer_dir), output_dir=str(tmp_path / folder),
                     sequence_length=corpora.LENGTH) | flags
        build_corpus.build(build_corpus.CorpusConfig(**flags), beam_options)
        return tmp_path / folder
    return build


@pytest.fixture(name="task_of")
def task_of_fixture(tmp_path, tokenizer_dir):
    """Like `corpus_of`, of `build_task.build`."""
    def build(folder, beam_options=(), **flags):
        flags = dict(tokenizer=str(tokenizer_dir), output_dir=str(tmp_path / folder)) | flags
        build_task.build(build_task.TaskConfig(**flags), beam_options)
        return tmp_path / folder
    return build


@pytest.fixture(name="same")
def same_fixture(monkeypatch):
    """Builds without Beam and with it and compares all files; returns them."""
    def same(build, beam_options, **flags):
        with monkeypatch.context() as patch:
            patch.setattr(frame, "Encoders", corpora.InProcess)
            here = contents(build("here", num_workers=1, **flags))
        assert contents(build("there", beam_options, runner="DirectRunner", **flags)) == here
        return here
    return same


def corpus(folder, kind):
    """Text in one of three shapes: flags for it, and how many shards it makes at the least."""
    folder.mkdir()
    if kind == "many small files":
        for number in range(60):
            opener, ending = (gzip.open, ".gz") if number % 7 == 3 else (open, "")
            with opener(folder / f"{number:02}.txt{ending}", "wb") as stream:
                stream.write(b"" if number == 30 else make_text(number, 3).encode())
        return dict(input=f"{folder}/*"), 8
    if kind == "one big file":
        (folder / "a.txt").write_text(make_text(0, 9000), encoding="utf-8")
        return dict(input=f"{folder}/a.txt"), 2
    for name, opener in (("a.jsonl", open), ("b.jsonl.gz", gzip.open), ("c.jsonl", open)):
        with opener(folder / name, "wb") as stream:
            for number in range(150):
                row = {"body": make_text(f"{name} {number}", 1), "n": number}
                stream.write(json.dumps(row).encode() + b"\r\n" * (1 + number % 2))
            stream.write(b'{"body": "Zo\xeb"}\n')
    return dict(input=f"{folder}/a.jsonl,{folder}/*", text_field="body", on_bad_utf8="skip"), 8


@both_modes
@pytest.mark.parametrize("kind", ["many small files", "one big file", "rows"])
def test_corpus(same, corpus_of, tmp_path, kind, beam_options):
    flags, shards = corpus(tmp_path / "source", kind)
    made = same(corpus_of, beam_options, shard_megabytes=0.006, validation_fraction=0.2, **flags)
    assert sum(name.endswith(".tfrecord") for name in made) >= shards


FORMS = {"classification": "sst2", "entailment": "mnli", "similarity": "stsb",
         "multiple choice": "race_middle", "csv": "story_cloze", "several layouts": "cola"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zero_shot", [False, True])
def test_task(same, task_of, tmp_path, form, zero_shot):
    task = FORMS[form]
    if zero_shot and table.TASKS[task].zero_shot is None:
        pytest.skip("the paper has no heuristic for it")
    source = write_files(tmp_path / "source", PUBLISHED[task])
    same(task_of, IN_MEMORY, task=task, input=source, zero_shot=zero_shot)


@both_modes
def test_own_task_of_several_shards(same, task_of, tmp_path, monkeypatch, beam_options):
    """The user's description, a path from here, validation taken from the training rows."""
    monkeypatch.setattr(splits, "_SHARD_ROWS", 256)  # not so in the workers
    spec = {"name": "tickets", "form": "similarity", "fields": {"first": "a", "second": "b"},
            "label": "close", "score_range": [0, 4], "metrics": ["pearson"]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    with open(tmp_path / "rows.jsonl", "w", encoding="utf-8") as stream:
        for number in range(900):
            row = {"a": f"the {number}", "b": "and", "close": number % 9 / 2}
            stream.write(json.dumps(row) + "\n")
    monkeypatch.chdir(REPOSITORY)
    rows = os.path.relpath(tmp_path / "rows.jsonl")
    made = same(task_of, beam_options, task=f"{tmp_path}/spec.json", input=f"train={rows}")
    assert sum(name.endswith(".tfrecord") for name in made) == 5


def test_stopped_here_goes_on_there(corpus_of, tmp_path, monkeypatch):
    """A build that was stopped on this machine is finished by Beam; what was made is kept."""
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(make_text(number, 9), encoding="utf-8")
    flags = dict(input=f"{tmp_path}/*.txt", shard_megabytes=0.002)
    whole = corpus_of("whole", runner="DirectRunner", **flags)
    write = notes.write

    def stop(folder, unit, made):
        write(folder, unit, made)
        if unit.name == "slice-00002":
            raise KeyboardInterrupt
    with monkeypatch.context() as patch:
        patch.setattr(frame, "Encoders", corpora.InProcess)
        patch.setattr(notes, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            corpus_of("data", num_workers=1, **flags)
    data = tmp_path / "data"
    made = {path: path.stat().st_mtime_ns for path in data.glob("*-0000[012].*")}
    assert len(made) >= 6
    corpus_of("data", runner="DirectRunner", **flags)
    assert contents(data) == contents(whole)
    assert made == {path: path.stat().st_mtime_ns for path in made}


def test_workers_that_see_another_tokenizer(corpus_of, tmp_path, tokenizer_dir, monkeypatch):
    (tmp_path / "a.txt").write_text(make_text(1, 9), encoding="utf-8")
    tokenizer = Tokenizer.load(tokenizer_dir)
    other = WordTokenizer({token: number for number, token in enumerate(tokenizer.tokens)},
                      tokenizer.merges[:-1])
    monkeypatch.setattr(parcels, "load_tokenizer", lambda folder: other)
    with pytest.raises(UserError, match="slice-00000 would not be the same here .*tokenizer's"):
        corpus_of("data", input=f"{tmp_path}/a.txt", runner="DirectRunner")


@both_modes
def test_bad_row_met_by_a_worker(tokenizer_dir, tmp_path, beam_options):
    """The command as typed: a text is only empty when it is tokenized; one sentence comes out."""
    def run():
        return subprocess.run(
            [sys.executable, "-m", "pipelines.build_task", "--task=sst2", f"--input={tmp_path}",
             f"--tokenizer={tokenizer_dir}", f"--output_dir={tmp_path}/data",
             "--runner=DirectRunner", *beam_options],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nthe\t0\nand\t1\n\x01\t1\n")
    done = run()
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    assert done.stderr.splitlines()[-1].startswith(
        f"error: {tmp_path}/train.tsv, line 4: a text is empty; correct or remove the row")
    found = contents(tmp_path / "data")
    assert "manifest.json" not in found and "UNFINISHED" in found
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nthe\t0\nand\t1\nin\t1\n")
    done = run()
    assert done.returncode == 0, done.stderr
    assert "INFO" not in done.stderr and "WARN" not in done.stderr
    assert not [name for name in contents(tmp_path / "data") if name.startswith((".made", "UNF"))]


@pytest.mark.parametrize("runner, options, sentence", [
    ("DirectRunner", ["--no=3"], "--no=3 is neither a flag of this command .* nor an option"),
    ("DirectRunner", ["--direct_num_workers=two"], "Apache Beam does not take these flags: arg"),
    ("Nix", [], "--runner=Nix: Beam cannot run: Unexpected pipeline runner: Nix."),
    ("DataflowRunner", [], "--runner=DataflowRunner: Beam cannot run: Pipeline has validations")])
def test_wrong_flags(corpus_of, tmp_path, runner, options, sentence):
    (tmp_path / "a.txt").write_text("the")
    with pytest.raises(UserError, match=sentence):
        corpus_of("data", options, runner=runner, input=f"{tmp_path}/a.txt")
    assert not (tmp_path / "data").exists()


def test_of_our_flags_beam_has_only_the_workers():
    """Ours are read first: what both have would never reach Beam."""
    beams = set(pipeline_options.PipelineOptions([]).get_all_options())
    ours = {name for config in (build_corpus.CorpusConfig, build_task.TaskConfig)
            for name in config.__dataclass_fields__}
    assert ours & beams == {"runner", "num_workers"}
