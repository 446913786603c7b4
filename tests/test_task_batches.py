"""Batches of a task: every row once an epoch, few widths, and a pure function of the step."""

import collections
import dataclasses

import numpy as np
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.data import batches as lib
from gpt_tf.data.padding import batch_width
from tests.test_batches import assert_same, take
from tests.test_records import SCORES, alter_manifest, make_task_folder

SIZE = 70


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    """70 rows of 3 to 64 tokens in no order."""
    lengths = np.random.default_rng(0).permutation(np.linspace(3, 64, SIZE).astype(int)).tolist()
    return make_task_folder(tmp_path_factory.mktemp("data"), (lengths[:40], lengths[40:]))


@pytest.mark.parametrize("longest, limit, width", [
    (1, 512, 16), (16, 512, 16), (17, 512, 24), (24, 512, 24), (25, 512, 32), (33, 512, 48),
    (49, 512, 64), (65, 512, 96), (97, 512, 128), (192, 512, 192), (193, 512, 256),
    (512, 512, 512), (513, 1024, 768), (5, 8, 8), (60, 62, 62)])
def test_widths(longest, limit, width):
    assert batch_width(longest, limit) == width


def test_elements_by_hand(tmp_path):
    make_task_folder(tmp_path, ((3, 2), (20,)))
    batches = lib.evaluation_batches(tmp_path, "train", 2)
    first, second = take(batches, 9)
    assert first["token_ids"].tolist() == [
        [[1001, 1002] + [0] * 14, [1001] + [0] * 15],
        [[1, 2, 3] + [0] * 13, [1, 2] + [0] * 14]]
    assert first["lengths"].tolist() == [[2, 1], [3, 2]]
    assert first["labels"].tolist() == [1, 0] and first["source_rows"].tolist() == [10, 0]
    assert first["split_positions"].tolist() == [1, 0]
    assert first["batch_rows"].tolist() == [0, 1] and first["step"] == 1
    assert second["token_ids"].shape == (2, 2, 24) and not second["token_ids"][1].any()
    assert second["lengths"].tolist() == [[20, 19], [0, 0]]
    assert second["split_positions"].tolist() == [2, -1]
    assert second["source_rows"].tolist() == [20, -1]
    assert second["labels"].tolist() == [0, 0]
    assert {key: value.dtype.name for key, value in first.items()} == {
        "token_ids": "int32", "lengths": "int32", "labels": "int32", "split_positions": "int32",
        "source_rows": "int64", "batch_rows": "int32", "step": "int64"}
    assert {key: value.shape.as_list() for key, value in batches.dataset.element_spec.items()} == {
        "token_ids": [2, 2, None], "lengths": [2, 2], "labels": [2], "split_positions": [2],
        "source_rows": [2], "batch_rows": [2], "step": []}


def test_scores(tmp_path):
    batch, = take(lib.evaluation_batches(
        make_task_folder(tmp_path, ((4, 3),), SCORES), "train", 4), 9)
    assert batch["labels"].dtype == np.float32
    assert batch["labels"].tolist() == [0.25, 0, 0, 0]
    assert batch["lengths"].tolist() == [[3], [4], [0], [0]]


@pytest.mark.parametrize("low", [-2, 1])
def test_filler_has_a_score_of_the_range(tmp_path, low):
    task = dataclasses.replace(SCORES, score_range=(low, 5))
    batch, = take(lib.evaluation_batches(
        make_task_folder(tmp_path, ((4,),), task), "train", 2), 9)
    assert batch["labels"].tolist() == [0, low]


@pytest.mark.parametrize("batch_size", [1, 4, 32, 100])
def test_evaluation_sees_every_row_once_by_length(folder, batch_size):
    batches = take(lib.evaluation_batches(folder, "train", batch_size), 999)
    seen = np.concatenate([batch["split_positions"] for batch in batches])
    assert sorted(seen[:SIZE]) == list(range(SIZE)) and (seen[SIZE:] == -1).all()
    lengths = np.concatenate([batch["lengths"][:, 0] for batch in batches])[:SIZE]
    assert (np.diff(lengths) >= 0).all()


@pytest.mark.parametrize("batch_size", [1, 2, 7, 16, 64, 100])
def test_each_epoch_visits_every_row_once(folder, batch_size):
    """Where a batch reaches an epoch's end, all rows were seen as often, but for the rows that the
    batch has of the next epoch."""
    total = 4 * SIZE // batch_size + 1
    seen, ends = collections.Counter(), 0
    batches = take(lib.task_batches(folder, batch_size, 1), total)
    for step, batch in enumerate(batches, start=1):
        seen.update(batch["split_positions"].tolist())
        epochs, beyond = divmod(step * batch_size, SIZE)
        if epochs and beyond < batch_size:
            ends += 1
            counts = [seen[record] - epochs for record in range(SIZE)]
            assert min(counts) >= 0 and sum(counts) == beyond and max(counts) <= 1
    assert ends >= min(4, total)


def test_batches_hold_rows_of_like_length(folder):
    """One pool of 10 batches is the sorted split, cut: their longest rows have 8, 14, 20, 26, 33,
    39, 45, 51, 57 and 64 tokens. They come in another order."""
    widths = [batch["token_ids"].shape[2] for batch in
              take(lib.task_batches(folder, 7, 0), 10)]
    assert sorted(widths) == [16, 16, 24, 32, 48, 48, 48, 64, 64, 64] != widths


def test_starting_later_equals_skipping(folder):
    whole = take(lib.task_batches(folder, 3, 5), 60)
    assert [batch["step"] for batch in whole] == list(range(1, 61))
    for start in (1, 22, 23, 24, 33, 59):  # an epoch ends inside update 24
        assert_same(take(lib.task_batches(folder, 3, 5, start), 60 - start), whole[start:])


def test_seed_decides_the_order(folder):
    first, again, other = (
        [batch["split_positions"].tolist()
         for batch in take(lib.task_batches(folder, 8, seed), 9)]
        for seed in (0, 0, 1))
    assert first == again != other


def test_order_by_hand(folder):
    """Update 41, 3 rows each: its stream starts with row 120, in the second epoch of 70;
    the first update that begins there is the 25th, and a pool goes to the 47th, the last that
    does: rows 72 to 140 of the stream."""
    stream = np.concatenate([lib.permutation(SIZE, 7, epoch) for epoch in range(3)])[72:141]
    lengths = lib.SplitReader(folder, "train").lengths
    by_length = sorted(stream.tolist(), key=lambda record: lengths[record])
    place = lib.permutation(23, 7, 2**63 + 24)[40 - 24]
    batch, = take(lib.task_batches(folder, 3, 7, 40), 1)
    assert batch["split_positions"].tolist() == by_length[3 * place:3 * place + 3] == [23, 14, 12]


def test_a_pool_has_32_batches_at_most(folder):
    stream = lib.permutation(SIZE, 0, 0)
    seen = [batch["split_positions"]
            for batch in take(lib.task_batches(folder, 2, 0), 32)]
    assert sorted(np.concatenate(seen)) == sorted(stream[:64])


def test_rows_without_labels_do_not_train(folder, tmp_path):
    make_task_folder(tmp_path)
    alter_manifest(tmp_path, lambda m: m["splits"]["train"].update(labelled=False))
    with pytest.raises(UserError, match="rows without a label"):
        lib.task_batches(tmp_path, 2, 0)


def test_altered_byte_reaches_the_user_as_a_sentence(tmp_path):
    make_task_folder(tmp_path)
    path = tmp_path / "train-00001.tfrecord"
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="train-00001.tfrecord, record 0: .*build_task"):
        take(lib.task_batches(tmp_path, 2, 0), 5)
