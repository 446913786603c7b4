"""Bad and hostile input: every reader takes it or refuses it with one sentence. See `fuzzing`.

A longer run: python -m benchmarks.fuzz --inputs=2000 --seed=0
"""

import os
import pathlib
import pickle
import re

import numpy as np
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.data.batches import train_batches
from gpt_tf.data.reader import SplitReader
from tests import fuzz_seeds, fuzzing
from tests.fuzz_attacks import ATTACKS
from tests.fuzz_targets import TARGETS

INPUTS = 20
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras, saving


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_taken_or_refused_with_a_sentence(tmp_path, name):
    """Some that chance makes, and all that somebody has thought of, which must be refused."""
    seeds = fuzzing.Seeds(name, tmp_path)
    kinds = set()
    for number in range(max(3, round(INPUTS * seeds.target.share))):
        changed = seeds.spoil(0, number)
        verdict = seeds.read(changed)
        if verdict.kind == fuzzing.DEFECT:
            fuzzing.save_input(tmp_path / "defect.json", name, changed, verdict.what)
            pytest.fail(f"{verdict.what}\nReplay: python -m benchmarks.fuzz "
                        f"--replay={tmp_path / 'defect.json'}")
        kinds.add(verdict.kind)
    assert fuzzing.REFUSED in kinds or INPUTS * seeds.target.share < 20
    for attack in ATTACKS.get(name, ()):
        verdict = seeds.attack(attack)
        assert verdict.kind == fuzzing.REFUSED, f"{attack}: {verdict}"


def test_no_altered_shard_is_trained_on(tmp_path):
    """200 flips and cuts anywhere in the training shards: each found in the epoch, and named."""
    fuzz_seeds.corpus_data(tmp_path)
    rng = np.random.default_rng(0)
    paths = sorted(tmp_path.glob("train-*.tfrecord"))
    for number in range(200):
        path = paths[number % 2]
        good = path.read_bytes()
        place = int(rng.integers(len(good)))
        flipped = bytes([good[place] ^ 1 << int(rng.integers(8))])
        path.write_bytes(good[:place] if number % 5 == 0
                         else good[:place] + flipped + good[place + 1:])
        with pytest.raises(UserError, match=f"{path.name}.* record [0-2]"):
            reader = SplitReader(tmp_path, "train")
            reader.read(range(len(reader)))
        if number % 10 == 0:  # tf.data takes its time
            with pytest.raises(UserError, match=f"{path.name}.* record [0-2]"):
                next(iter(train_batches(tmp_path, 6, number)))  # an epoch is one batch of all six
        path.write_bytes(good)
    next(iter(train_batches(tmp_path, 6, 0)))


def _unpickles(folder):
    (folder / "file").write_bytes(pickle.dumps(np.zeros(2)))
    np.load(folder / "file", allow_pickle=True)


def _refuses(message):
    raise UserError(message)


@pytest.mark.parametrize("call, what", [
    (lambda folder: 1 / 0, "ZeroDivisionError"),
    (lambda folder: _refuses("Something in this file is wrong."), "does not say where"),
    (lambda folder: _refuses(str(folder) + "x" * 10), None),
    (lambda folder: (folder / "inside").write_text("x"), None),
    (lambda folder: (folder.parent / "beside").write_text("x"), "open of .*beside"),
    (lambda folder: pathlib.Path("/etc/hostname").exists() and open("/etc/hostname").close(),
     "open of /etc/hostname"),
    (lambda folder: (folder / "nothing").rename(folder.parent / "there"), "os.rename of .*there"),
    (_unpickles, "pickle.find_class"),
    (lambda folder: os.system("true"), "os.system"),
    (lambda folder: np.ones(1 << 34), "MemoryError"),
    (lambda folder: [None for _ in iter(int, 1)], "more than 0.3 s"),
])
def test_what_is_a_defect(tmp_path, monkeypatch, call, what):
    monkeypatch.setattr(fuzzing, "MOST_SECONDS", 0.3)
    folder = tmp_path / "input"
    folder.mkdir()
    verdict, _ = fuzzing.judge(call, folder)
    if what is None:
        assert verdict.kind != fuzzing.DEFECT, verdict.what
    else:
        assert verdict.kind == fuzzing.DEFECT and re.search(what, verdict.what), verdict
