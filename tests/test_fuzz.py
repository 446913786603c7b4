"""Bad and hostile input: every reader takes it or refuses it with one sentence. See `fuzzing`.

A longer run: python -m benchmarks.fuzz --inputs=2000 --seed=0
"""

import numpy as np
import pytest

from gpt_tf import records
from gpt_tf.files import UserError
from gpt_tf.input import train_batches
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
            reader = records.SplitReader(tmp_path, "train")
            reader.read(range(len(reader)))
        if number % 10 == 0:  # tf.data takes its time
            with pytest.raises(UserError, match=f"{path.name}.* record [0-2]"):
                next(iter(train_batches(tmp_path, 6, number)))  # an epoch is one batch of all six
        path.write_bytes(good)
    next(iter(train_batches(tmp_path, 6, 0)))
