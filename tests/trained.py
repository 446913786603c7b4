"""Small runs, trained here in seconds, with everything that they report."""

import dataclasses

from gpt_tf.config import (
    FineTuningConfig,
    ModelConfig,
    OptimizerConfig,
    ProbeConfig,
    TrainingConfig,
)
from gpt_tf.data.manifest import LANGUAGE_MODEL, TASK
from gpt_tf.runs import run_folder
from gpt_tf.training import distribution, finetuning, pretraining
from gpt_tf.training.run_config import FineTuningRunConfig, PreTrainingRunConfig, TrainingData
from tests import fuzz_seeds, task_data

MODEL = ModelConfig(vocabulary_size=fuzz_seeds.tokenizer().vocabulary_size, num_layers=1,
                    num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=32)
TRAINING = TrainingConfig(batch_size=4, num_steps=6, jit_compile=False, strategy="one_device",
                          log_every=2, evaluate_every=2, save_every=3, profile_step=5)

NO_PROBES = ProbeConfig()


def pretrain(folder, probes=NO_PROBES, **training):
    """Takes the run in `folder` to its end, on the data beside it."""
    data_dir = folder.parent / "data"
    if not data_dir.exists():
        data_dir.mkdir()
        fuzz_seeds.corpus_data(data_dir)
    cluster = distribution.join("one_device")
    with cluster.owning(str(folder)):
        pretraining.pretrain(
            PreTrainingRunConfig(
                TrainingData.load(str(data_dir), LANGUAGE_MODEL), str(folder),
                run_folder.FROM_SCRATCH, MODEL, OptimizerConfig(learning_rate=0.01),
                dataclasses.replace(TRAINING, **training), "--seed=0\n", frozenset(),
                probes=probes),
            cluster)
    return folder


def finetune(folder, task, lm_coef):
    data_dir = str(folder.parent / f"{folder.name}-data")
    # Losses that differ visibly from update to update: of equal ones TensorBoard draws no curve.
    task_data.write(data_dir, fuzz_seeds.tokenizer(), task_data.TASKS[task], shortest=2)
    cluster = distribution.join("one_device")
    with cluster.owning(str(folder)):
        finetuning.finetune(FineTuningRunConfig(
            TrainingData.load(data_dir, TASK), str(folder), run_folder.FROM_SCRATCH,
            dataclasses.replace(MODEL, num_special_tokens=3), OptimizerConfig(),
            dataclasses.replace(TRAINING, profile_step=0), "--seed=0\n", frozenset(),
            FineTuningConfig(lm_coef=lm_coef)), cluster)
    return folder
