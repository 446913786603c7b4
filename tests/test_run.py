"""What pre-training and fine-tuning do alike: how a run starts, and who writes."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.config import FineTuningConfig, ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.data.manifest import LANGUAGE_MODEL, TASK, Manifest
from gpt_tf.runs import run_folder
from gpt_tf.runs.checkpoint import BestCheckpoint, Checkpoints
from gpt_tf.runs.pictures import scatter_figure
from gpt_tf.runs.reporting import Reporter
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training import distribution, finetuning, pretraining
from gpt_tf.training.run_config import FineTuningRunConfig, RunConfig, TrainingData
from tests import fuzz_seeds, task_data

MODEL = ModelConfig(vocabulary_size=fuzz_seeds.tokenizer().vocabulary_size, num_layers=1,
                    num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=32)
TRAINING = TrainingConfig(batch_size=4, num_steps=2, jit_compile=False, strategy="one_device")


@pytest.fixture(name="loads")
def loads_fixture(monkeypatch):
    """Counts the calls of `Manifest.load` and `Tokenizer.load`, by class and folder."""
    counts = collections.Counter()

    def count(of):
        original = of.load.__func__
        monkeypatch.setattr(of, "load", classmethod(
            lambda cls, folder: counts.update([(of, str(folder))]) or original(cls, folder)))

    for of in (Manifest, Tokenizer):
        count(of)
    return counts


def pretrain(data_dir, model_dir, init_from=run_folder.FROM_SCRATCH):
    data = TrainingData.load(data_dir, LANGUAGE_MODEL)
    cluster = distribution.join("one_device")
    with cluster.owning(model_dir):
        return pretraining.pretrain(RunConfig(data, model_dir, init_from, MODEL, OptimizerConfig(),
                                              TRAINING, "", frozenset()), cluster)


def test_pre_training_reads_its_data_folder_once(tmp_path, loads):
    data_dir, first, second = (str(tmp_path / name) for name in ("data", "first", "second"))
    (tmp_path / "data").mkdir()
    fuzz_seeds.corpus_data(tmp_path / "data")
    assert pretrain(data_dir, first) == 2
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1}
    loads.clear()
    assert pretrain(data_dir, first) == 2  # the run is finished
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1}
    loads.clear()
    # The other run's tokenizer must be the one that the data was made with.
    assert pretrain(data_dir, second, init_from=first) == 2
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1, (Tokenizer, first): 1}


def test_who_is_told_not_to_write_leaves_no_file(tmp_path):
    reporter = Reporter(str(tmp_path / "run"), writes=False)
    reporter.scalars(1, {"train/loss": 2.0})
    reporter.text(1, "flags", "--seed=0")
    reporter.settings({"seed": 0})
    reporter.layout("Pre-training", {"loss": ["train/loss"]})
    reporter.finish()
    reporter.figure(1, "validation", scatter_figure(np.zeros(1), np.ones(1), (0, 5)))
    reporter.start_profile()
    reporter.stop_profile()
    reporter.close()
    variable = tf.Variable(0.0)
    Checkpoints(str(tmp_path / "checkpoints"), {"model": {"a": variable}}, writes=False).save(1)
    best = BestCheckpoint(str(tmp_path / "best"), {"a": variable}, ["validation/f1"], writes=False)
    best.offer(1, {"validation/f1": 0.5})
    assert not list(tmp_path.iterdir()) and (best.step, best.scores) == (1, {"validation/f1": 0.5})


def test_fine_tuning_reads_its_data_folder_once(tmp_path, loads):
    data_dir, model_dir = str(tmp_path / "data"), str(tmp_path / "run")
    task_data.write(data_dir, fuzz_seeds.tokenizer(), task_data.TASKS["classification"])
    configs = {}
    data = TrainingData.load(data_dir, TASK)
    for seed in (1, 2):
        configs[seed] = FineTuningRunConfig(
            data, f"{model_dir}-{seed}", run_folder.FROM_SCRATCH,
            dataclasses.replace(MODEL, num_special_tokens=3), OptimizerConfig(),
            dataclasses.replace(TRAINING, seed=seed), "", frozenset(), FineTuningConfig())
    finetuning.finetune_all(configs, distribution.join("one_device"), str(tmp_path))
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1}
