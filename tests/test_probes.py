"""Probes of a language model in training, and checkpoints at a logarithmic spacing."""

import json
import math
import shutil

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.config import ModelConfig, ProbeConfig
from gpt_tf.data.manifest import Manifest
from gpt_tf.model.gpt import GPT
from gpt_tf.runs import checkpoint_files, run_folder
from gpt_tf.training.probes import InductionProbe
from tests import fuzz_seeds, trained

VOCABULARY = 50


@pytest.mark.parametrize("total, per_decade, expected", [
    (1000, 0, []), (1000, 1, [1, 10, 100, 1000]), (999, 1, [1, 10, 100]), (1, 3, [1]),
    (1000, 3, [1, 2, 5, 10, 22, 46, 100, 215, 464, 1000])])
def test_milestones(total, per_decade, expected):
    assert sorted(checkpoint_files.milestones(total, per_decade)) == expected


@pytest.mark.parametrize("per_decade", [7, 100])
def test_milestones_do_not_hang_on_the_total(per_decade):
    expected = {round(10 ** (k / per_decade)) for k in range(4 * per_decade + 1)}
    assert expected == {step for step in range(1, 10_001)
                        if step in checkpoint_files.milestones(step, per_decade)}


class Repeating:
    """Knows nothing the first time, and the second time what comes next, but for `doubt`."""

    config = ModelConfig(vocabulary_size=VOCABULARY)
    certainty = 5.0

    def __call__(self, token_ids):
        half = token_ids.shape[1] // 2
        following = tf.one_hot(tf.roll(token_ids, -1, axis=1), VOCABULARY)
        return tf.concat([tf.zeros_like(following[:, :half]),
                          self.certainty * following[:, half:]], axis=1)

    def vocabulary_table(self):
        return tf.eye(VOCABULARY)


def test_gain_of_a_model_that_repeats():
    e = math.exp(Repeating.certainty)
    expected = math.log(VOCABULARY) + math.log(e / (e + VOCABULARY - 1))
    gain = InductionProbe(Repeating(), length=16)(False)["induction/gain"]
    assert gain == pytest.approx(expected, abs=1e-5)


def test_gain_is_of_the_logits():
    model = GPT(ModelConfig(vocabulary_size=VOCABULARY, num_layers=2, num_heads=2, hidden_dim=16,
                            intermediate_dim=32, max_sequence_length=16, initializer_range=0.5))
    probe = InductionProbe(model, length=13)  # an odd window leaves a position free
    token_ids = probe._token_ids.numpy()
    np.testing.assert_array_equal(token_ids[:, :6], token_ids[:, 6:])
    logits = model.logits(model(token_ids)).numpy().astype(np.float64)
    likelihoods = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(likelihoods[:, :-1], token_ids[:, 1:, None], axis=2)[..., 0]
    expected = losses[:, :5].mean() - losses[:, 6:].mean()
    assert probe(False)["induction/gain"] == pytest.approx(expected, abs=1e-5)


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory):
    """A folder with data, and the same once more as `books`."""
    base = tmp_path_factory.mktemp("probes")
    (base / "data").mkdir()
    fuzz_seeds.corpus_data(base / "data")
    shutil.copytree(base / "data", base / "books")
    return base


def test_a_probed_run(data):
    probes = ProbeConfig(probe_induction=True, probe_data=str(data / "books"))
    # More than one batch, so that the last row is of others than those before.
    assert Manifest.load(str(data / "data")).splits["validation"].records > 2
    run = trained.pretrain(data / "run", probes, num_steps=12, keep_checkpoints=1,
                           checkpoints_per_decade=3, save_every=6, profile_step=0,
                           batch_size=2, evaluation_batches=1)
    assert checkpoint_files.steps(run_folder.checkpoint_folder(run)) == [1, 2, 5, 10, 12]
    with open(run / "metrics.jsonl", encoding="utf-8") as stream:
        rows = [row for row in map(json.loads, stream) if "validation/loss" in row]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    for row in rows:
        assert row["books/loss"] == row["validation/loss"]
        assert row["books/bits_per_byte"] == row["validation/bits_per_byte"]
        assert abs(row["induction/gain"]) < 0.5
    plain = trained.pretrain(data / "plain", num_steps=12, profile_step=0, batch_size=2,
                             evaluation_batches=1)
    with open(plain / "metrics.jsonl", encoding="utf-8") as stream:
        without = [row["validation/loss"] for row in map(json.loads, stream)
                   if "validation/loss" in row]
    assert without == [row["validation/loss"] for row in rows]  # probes change nothing


@pytest.mark.parametrize("make, message", [
    (lambda folder: shutil.copytree(folder / "data", folder / "else" / "validation"),
     "two curves would be called validation"),
    (lambda folder: _of_another_tokenizer(folder / "data", folder / "other"), "another tokenizer"),
    (lambda folder: _of_longer_windows(folder / "longer"),
     "have 32 tokens, and those of .*data have 16: build it with --sequence_length=16"),
    (lambda folder: folder / "nowhere", "nowhere")])
def test_errors(data, make, message):
    with pytest.raises(UserError, match=message):
        trained.pretrain(data / "none", ProbeConfig(probe_data=str(make(data))))
    assert not (data / "none" / "checkpoints").exists()


def _of_another_tokenizer(data, folder):
    shutil.copytree(data, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(
        json.dumps(manifest | {"tokenizer_fingerprint": "0" * 64}))
    (folder / "SHA256SUMS").unlink()
    return folder


def _of_longer_windows(folder):
    folder.mkdir()
    fuzz_seeds.corpus_data(folder, 2 * fuzz_seeds.LENGTH)
    return folder
