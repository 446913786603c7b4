"""Global batches: a pure function of (data, seed, step), every record once an epoch."""

import itertools

import numpy as np
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.data import batches as lib
from tests.test_records import make_folder


def take(batches, count):
    return [{key: value.numpy() for key, value in batch.items()}
            for batch in itertools.islice(batches, count)]


def firsts(batches):
    """The number of each record, which `make_folder` put into its first token."""
    return np.concatenate([batch["token_ids"][:, 0] for batch in batches]) - 1000


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others):
        for key, value in batch.items():
            np.testing.assert_array_equal(value, other[key])


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data"), (5, 1, 4))


def test_elements(folder):
    batches = lib.train_batches(folder, batch_size=4, seed=3, start_step=6)
    batch = next(iter(batches.dataset))
    assert {key: (value.dtype.name, value.shape.as_list()) for key, value in batch.items()} == {
        "token_ids": ("int32", [4, 8]), "lengths": ("int32", [4]), "batch_rows": ("int32", [4]),
        "step": ("int64", [])}
    assert {key: value.shape.as_list() for key, value in batches.dataset.element_spec.items()} == {
        "token_ids": [4, 8], "lengths": [4], "batch_rows": [4], "step": []}
    assert batch["step"] == 7
    assert batch["batch_rows"].numpy().tolist() == [0, 1, 2, 3]
    for ids, length in zip(batch["token_ids"].numpy(), batch["lengths"].numpy()):
        assert ids[:length].all() and not ids[length:].any()


@pytest.mark.parametrize("batch_size", [1, 3, 10, 23])
def test_each_epoch_visits_every_record_once(folder, batch_size):
    """10 records; batches run over the ends of epochs, or hold more than two of them."""
    found = firsts(take(lib.train_batches(folder, batch_size, seed=1), -(-30 // batch_size)))
    epochs = found[:30].reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])


def test_starting_later_equals_skipping(folder):
    whole = take(lib.train_batches(folder, 4, seed=5), 12)
    for start in (1, 2, 5, 11):
        assert_same(take(lib.train_batches(folder, 4, 5, start), 12 - start), whole[start:])


def test_stream_does_not_depend_on_the_batch_size(folder):
    np.testing.assert_array_equal(firsts(take(lib.train_batches(folder, 6, 2), 5)),
                                  firsts(take(lib.train_batches(folder, 15, 2), 2)))


def test_a_far_step_is_reached_at_once(folder):
    far = 10**12
    batch = take(lib.train_batches(folder, 10, 0, far), 1)[0]
    assert batch["step"] == far + 1
    assert sorted(firsts([batch])) == list(range(10))


def test_seed_decides_the_order(folder):
    first, again, other = (firsts(take(lib.train_batches(folder, 10, seed), 2)).tolist()
                           for seed in (0, 0, 1))
    assert first == again != other


def test_permutation_is_the_same_for_ever():
    """A run that goes on under another numpy or machine must find the order it began with."""
    found = lib.permutation(12, seed=7, epoch=3).tolist()
    assert found == [10, 4, 9, 6, 11, 2, 0, 8, 1, 7, 3, 5]


def test_permutation_is_uniform():
    """Every record is at every place equally often: chi-square, 49 degrees per place and record."""
    size, trials = 8, 4000
    counts = np.zeros([size, size])
    for epoch in range(trials):
        counts[np.arange(size), lib.permutation(size, seed=0, epoch=epoch)] += 1
    chi_square = ((counts - trials / size) ** 2).sum() / (trials / size)
    assert 20 < chi_square < 90  # 49 expected; outside with a chance below 1e-3


def test_evaluation_reads_every_record_once_in_order(folder):
    batches = take(lib.evaluation_batches(folder, "train", 4), 99)
    assert [batch["step"] for batch in batches] == [1, 2, 3]
    assert all(batch["token_ids"].shape == (4, 8) for batch in batches)
    assert firsts(batches)[:10].tolist() == list(range(10))
    assert batches[2]["lengths"][:2].all()
    assert not batches[2]["lengths"][2:].any() and not batches[2]["token_ids"][2:].any()


@pytest.mark.parametrize("limit, expected", [
    (0, [0, 2, 4, 6, 8]), (5, [0, 2, 4, 6, 8]), (9, [0, 2, 4, 6, 8]), (2, [0, 4]), (3, [0, 2, 6]),
    (1, [0])])
def test_some_batches_are_from_all_over_the_split(folder, limit, expected):
    batches = take(lib.evaluation_batches(folder, "train", 2, limit=limit), 99)
    assert firsts(batches)[::2].tolist() == expected


def test_altered_byte_reaches_the_user_as_a_sentence(tmp_path):
    make_folder(tmp_path, (3, 3))
    path = tmp_path / "train-00001.tfrecord"
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    wanted = r"train-00001.tfrecord, record 2: the bytes are not those that were written"
    seen = []
    with pytest.raises(UserError, match=wanted):
        for batch in lib.evaluation_batches(tmp_path, "train", 2):
            seen.append(batch)
    assert len(seen) == 2  # what came before the bad record is still served
    batches = lib.evaluation_batches(tmp_path, "train", 6)
    with pytest.raises(UserError, match=wanted), batches.explain_errors():
        next(iter(batches.dataset))
