"""A build that was killed at any instant goes on: the same bytes, nothing finished made again."""

import contextlib
import gzip
import json
import os
import pickle
import shutil

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.data import records
from pipelines import build_corpus, build_task
from pipelines.building import frame, notes, with_beam
from pipelines.corpus.shards import WindowMaker
from pipelines.tasks import splits
from pipelines.tasks.shards import RecordMaker
from tests import corpora
from tests.corpora import contents, make_text

# Fixtures are found by name.
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture


def write(path, text):
    path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))


@pytest.fixture(name="source")
def source_fixture(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture(name="corpus")
def corpus_fixture(source, tokenizer_dir, tmp_path, monkeypatch):
    """Builds 3 slices of 2 documents; compressed, for tf.data takes its time to start."""
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    for number in range(6):
        write(source / f"{number}.txt.gz", make_text(number, 4))

    def build(**flags):
        flags = dict(input=f"{source}/*", tokenizer=str(tokenizer_dir),
                     num_workers=1,
                     output_dir=str(tmp_path / "data"), sequence_length=corpora.LENGTH,
                     validation_fraction=0.4, shard_megabytes=0.0011) | flags
        return build_corpus.build(build_corpus.CorpusConfig(**flags))
    return build


@pytest.fixture(name="task")
def task_fixture(source, tokenizer_dir, tmp_path, monkeypatch):
    """Builds shards of 4, 4, 1 and 2 rows."""
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    monkeypatch.setattr(splits, "_CHUNK_ROWS", 2)
    monkeypatch.setattr(splits, "_SHARD_ROWS", 4)
    for name, rows in (("train", 9), ("validation", 2)):
        (source / f"{name}.csv").write_text("body,kind\n" + "".join(
            f"{'the ' * (number + 1)}end.,{number % 2}\n" for number in range(rows)))
    spec = {"name": "own", "form": "classification", "fields": {"text": "body"}, "label": "kind",
            "labels": ["0", "1"], "metrics": ["accuracy"]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))

    def build(**flags):
        flags = dict(task=str(tmp_path / "spec.json"), input=str(source),
                     tokenizer=str(tokenizer_dir), num_workers=1,
                     output_dir=str(tmp_path / "data")) | flags
        return build_task.build(build_task.TaskConfig(**flags))
    return build


@pytest.fixture(name="build", params=["corpus", "task"])
def build_fixture(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(name="written")
def written_fixture(monkeypatch):
    """Names of the units that were finished, as they are."""
    write, units = notes.write, []

    def watched(folder, unit, made):
        write(folder, unit, made)
        units.append(unit.name)
    monkeypatch.setattr(notes, "write", watched)
    return units


def notes_of(folder):
    return [name for name in contents(folder)
            if name.startswith(notes.FOLDER) and name.endswith(".json")]


@pytest.fixture(name="states")
def states_fixture(monkeypatch, tmp_path):
    """Calls a function; returns copies of a folder as a kill before each change would leave it."""
    def states(build, folder):
        copies = []

        def copying(change):
            def changed(*arguments, **options):
                if not busy:
                    busy.append(True)
                    copies.append(tmp_path / f"state-{len(copies)}")
                    shutil.copytree(folder, copies[-1])
                    busy.clear()
                return change(*arguments, **options)
            return changed

        busy = []
        folder.mkdir(exist_ok=True)
        with monkeypatch.context() as patch:
            for name in ("replace", "unlink", "mkdir", "rmdir"):
                patch.setattr(os, name, copying(getattr(os, name)))
            build()
        return copies
    return states


@pytest.mark.parametrize("name, overwrite", [("corpus", False), ("task", True)])
def test_killed_at_every_change_of_a_file(request, states, written, tmp_path, name, overwrite):
    """The end is that of an unbroken build, and each unit that had its note is kept."""
    build, data = request.getfixturevalue(name), tmp_path / "data"
    if overwrite:
        build()
        written.clear()
    copies = states(lambda: build(overwrite=overwrite), data)
    whole, total = contents(data), len(written)
    known = set()
    for copy in copies:
        state = contents(copy)
        # An unlink of what is not there changes nothing.
        if (seen := tuple(state)) in known:
            continue
        known.add(seen)
        finished = "manifest.json" in state
        kept = 0 if finished else len(notes_of(copy))
        written.clear()
        try:
            build(output_dir=str(copy), overwrite=overwrite)
            assert len(written) == total - kept
        except UserError as error:  # it was killed when all was done
            assert finished and "holds a finished data folder" in str(error)
        assert contents(copy) == whole
    assert len(known) > 4 * total


@pytest.fixture(name="stopped")
def stopped_fixture(monkeypatch, written):
    """Calls a function and stops it when some units are finished."""
    def stopped(build, after):
        write = notes.write

        def stop(*arguments):
            write(*arguments)
            if len(written) == after:
                raise KeyboardInterrupt
        written.clear()
        with monkeypatch.context() as patch:
            patch.setattr(notes, "write", stop)
            with pytest.raises(KeyboardInterrupt):
                build()
        assert len(written) == after
        written.clear()
    return stopped


def test_only_what_changed_is_made_again(corpus, stopped, written, source, tmp_path):
    stopped(corpus, after=3)
    write(source / "2.txt.gz", make_text(2, 4).replace("the", "and"))
    corpus()
    assert written == ["slice-00001"]
    corpus(output_dir=str(tmp_path / "other"))
    assert contents(tmp_path / "data") == contents(tmp_path / "other")


def test_other_flags_make_everything_again(corpus, stopped, written, tmp_path):
    stopped(corpus, after=2)
    corpus(sequence_length=8)
    assert len(written) == 3
    corpus(output_dir=str(tmp_path / "other"), sequence_length=8)
    assert contents(tmp_path / "data") == contents(tmp_path / "other")


def test_other_rows_make_the_shards_again(task, stopped, written, source, tmp_path):
    """A label that changed: its shard alone."""
    stopped(task, after=3)
    path = source / "train.csv"
    path.write_text(path.read_text().replace("end.,1", "end.,0", 1))
    task()
    assert written == ["train-00000", "validation-00000"]
    task(output_dir=str(tmp_path / "other"))
    assert contents(tmp_path / "data") == contents(tmp_path / "other")


@pytest.mark.parametrize("release", ["ftfy", "spacy"])
def test_other_releases_make_everything_again(corpus, stopped, written, monkeypatch, release):
    stopped(corpus, after=2)
    versions = notes.library_versions(["ftfy", "spacy"]) | {release: "0.1"}
    monkeypatch.setattr(notes, "library_versions", lambda libraries: versions)
    corpus()
    assert len(written) == 3


@pytest.mark.parametrize("damage", ["shard cut", "shard gone", "index altered", "note cut"])
def test_what_is_not_whole_is_made_again(corpus, stopped, written, tmp_path, damage):
    corpus(output_dir=str(tmp_path / "whole"))
    stopped(corpus, after=2)
    shard = min((tmp_path / "data").glob("*.tfrecord"))
    index = shard.with_name(records.index_name(shard.name))
    note = min((tmp_path / "data" / notes.FOLDER).glob("*.json"))
    if damage == "shard gone":
        shard.unlink()
    else:
        path = {"shard cut": shard, "index altered": index, "note cut": note}[damage]
        path.write_bytes(path.read_bytes()[:-9] + b"\7" * (damage == "index altered"))
    corpus()
    assert len(written) == 2
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_input_that_changes_under_the_build(build, source, tmp_path, monkeypatch):
    """Between planning and reading: a sentence, and no data folder."""
    def change(then):
        def changed(*arguments):
            for path in source.glob("*.gz"):
                write(path, make_text(7, 4))
            for path in source.glob("*.csv"):
                path.write_text(path.read_text().replace("the", "and"))
            return then(*arguments)
        return changed
    for maker in (WindowMaker, RecordMaker):
        monkeypatch.setattr(maker, "cut", change(maker.cut))
    with pytest.raises(UserError, match="--input has changed since it was first read"):
        build()
    assert not [name for name in contents(tmp_path / "data") if name.endswith(".tfrecord")]


class Elsewhere:
    """Stands for `with_beam.Pipeline`: each parcel is pickled and made in another folder."""

    def __init__(self, config, options):
        del config, options

    def run(self, maker, parcels):
        maker = pickle.dumps(maker.elsewhere())
        parcels = [pickle.dumps(parcel.alone()) for parcel in parcels]
        with contextlib.chdir("/"):
            for parcel in parcels:
                pickle.loads(maker).make_alone(pickle.loads(parcel))


@pytest.mark.parametrize("name, given", [("corpus", "source/*"), ("task", "source")])
def test_parcels_made_elsewhere(request, tmp_path, monkeypatch, name, given):
    """The same bytes, though the input is named from here."""
    build = request.getfixturevalue(name)
    build()
    monkeypatch.setattr(with_beam, "Pipeline", Elsewhere)
    monkeypatch.chdir(tmp_path)
    build(output_dir="other", runner="DirectRunner", input=given)
    here, there = contents(tmp_path / "data"), contents(tmp_path / "other")
    for made in (here, there):
        del made["manifest.json"], made["SHA256SUMS"]  # which hold --input, and its checksum
    assert here == there
