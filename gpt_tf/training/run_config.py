"""What a training run is: its data, its folders, and every value of the paper. No TensorFlow here.

So all that JSON and the file system can tell is checked before TensorFlow is imported.
"""

import dataclasses
import functools
import os
from typing import ClassVar

from gpt_tf.common.errors import UserError
from gpt_tf.common.names import in_utf8, split_paths
from gpt_tf.config import (
    FineTuningConfig,
    ModelConfig,
    OptimizerConfig,
    Options,
    ProbeConfig,
    TrainingConfig,
)
from gpt_tf.data.manifest import LANGUAGE_MODEL, MANIFEST_NAME, TASK, Manifest
from gpt_tf.runs import beginning, run_folder
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training import run_length

# What a kind of data is for, and the command that makes it.
_PURPOSES = {LANGUAGE_MODEL: ("pre-training", "python -m pipelines.build_corpus"),
             TASK: ("fine-tuning", "python -m pipelines.build_task")}


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """A data folder to train on: its path, and what it says of itself, read once."""

    folder: str
    manifest: Manifest
    tokenizer: Tokenizer

    @classmethod
    def load(cls, folder: str, kind: str) -> "TrainingData":
        """Reads the manifest and the tokenizer of a data folder.

        Args:
          folder: the data folder.
          kind: of the data, LANGUAGE_MODEL or TASK.

        Raises:
          UserError: data of another kind, another tokenizer beside it, or of a task nothing to
            validate on.
        """
        purpose, command = _PURPOSES[kind]
        manifest = Manifest.load(folder)
        if manifest.kind != kind:
            raise UserError(f"{folder} holds data of kind {manifest.kind!r}; {purpose} needs the "
                            f"output of {command}.")
        tokenizer = Tokenizer.load(folder)
        if (tokenizer.fingerprint, tokenizer.vocabulary_size) != (
                manifest.tokenizer_fingerprint, manifest.vocabulary_size):
            raise UserError(f"The tokenizer in {folder} is not the one its data was made with: "
                            f"build the folder again with {command}.")
        if kind == TASK and not validation_splits(manifest):
            raise UserError(f"{folder} has no labelled validation split, and the best weights are "
                            "chosen on one: build it with --validation_fraction.")
        return cls(folder, manifest, tokenizer)

    def check_windows(self, model: ModelConfig, is_from_scratch: bool) -> None:
        """Raises UserError if the windows, or a task's sequences, are longer than the model's."""
        length, limit = self.manifest.sequence_length, model.max_sequence_length
        if length <= limit:
            return
        if self.manifest.kind == TASK:
            raise UserError(f"{self.folder} has sequences of up to {length} tokens and the model "
                            f"takes {limit}: build the data with --max_length={limit}.")
        remedy = "build the data with a smaller --sequence_length."
        if is_from_scratch:
            remedy = f"leave that to the data with --max_sequence_length=0, or {remedy}"
        raise UserError(f"{self.folder} has windows of {length} tokens and "
                        f"--max_sequence_length={limit}: {remedy}")


def validation_splits(manifest: Manifest) -> list[str]:
    """The splits named validation..., of a task those with labels; the one that chooses the best
    weights first."""
    return sorted(name for name, split in manifest.splits.items()
                  if name.startswith("validation") and split.records
                  and (manifest.kind != TASK or split.labelled))


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run is: on what, where, from what, and every value of the paper."""

    data: TrainingData
    model_dir: str
    init_from: str  # a run folder, or run_folder.FROM_SCRATCH
    model: ModelConfig
    optimizer: OptimizerConfig
    training: TrainingConfig
    flags_text: str  # the resolved flagfile
    resumable: frozenset[str]  # flags that may change when the run goes on
    overwrite: bool = dataclasses.field(default=False, kw_only=True)  # another run that is there
    # Whether a run whose rates hang on its number of updates may go on with another number.
    change_length: bool = dataclasses.field(default=False, kw_only=True)

    # Whether the first of `score_names` is a loss.
    lowest_is_best: ClassVar[bool] = True
    _cadence: ClassVar[str] = "evaluate_every"  # the flag of how often it validates

    @property
    def is_from_scratch(self) -> bool:
        """Whether the seed decides all initial weights."""
        return self.init_from == run_folder.FROM_SCRATCH

    @property
    def settings(self) -> dict[str, bool | float | str]:
        """The values of the flags, by name, that runs may be compared by."""
        parts = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return {"data_dir": self.data.folder, "init_from": self.init_from} | {
            field.name: getattr(part, field.name)
            for part in parts if isinstance(part, Options)
            for field in dataclasses.fields(part) if "help" in field.metadata}

    @property
    def free_flags(self) -> frozenset[str]:
        """Flags in which the run in the folder may differ and is this one."""
        # One of another length goes on; or it is another, and --overwrite replaces it.
        return self.resumable if self.overwrite else self.resumable | run_length.NAMES

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.training.total_steps(self._num_records)

    @property
    def _num_records(self) -> int:
        return self.data.manifest.splits["train"].records

    @property
    def changes_length(self) -> bool:
        """Whether the flagfile of the run folder says another number of updates."""
        return self.total_steps != run_length.recorded_steps(self.model_dir, self.training,
                                                             self._num_records)

    def course(self, total_steps: int) -> OptimizerConfig:
        """The optimizer of a run of so many updates."""
        return self.optimizer

    @property
    def evaluate_every(self) -> float:
        """Updates between validations, which need not be whole; 0: at the end only."""
        return self.training.evaluate_every

    @property
    def score_names(self) -> list[str]:
        """What is kept of the best validation; the first decides which it is."""
        return ["validation/loss"]

    @property
    def validates(self) -> bool:
        """Whether there is something to validate on."""
        return bool(validation_splits(self.data.manifest))

    def check(self) -> None:
        """Sees that data, model, the run folder and the run it starts from fit together.

        Raises:
          UserError: they do not.
        """
        if self.training.early_stopping and not self.validates:
            raise UserError("--early_stopping counts validations, and there is nothing to validate "
                            f"on in {self.data.folder}: leave it out with --early_stopping=0.")
        if self.training.early_stopping and not self.evaluate_every:
            raise UserError("--early_stopping counts validations in the course of the run: ask for "
                            f"some with --{self._cadence}.")
        run_length.check_total(self.training, self._num_records)
        from_itself = not self.is_from_scratch and (
            os.path.realpath(self.init_from) == os.path.realpath(self.model_dir))
        if not self.is_from_scratch and not from_itself:
            self._check_tokenizer()
        self.data.check_windows(self.model, self.is_from_scratch)
        if os.path.exists(os.path.join(self.model_dir, MANIFEST_NAME)):
            raise UserError(f"--model_dir={self.model_dir} is a data folder: name another.")
        if not self.overwrite:
            beginning.check_same(self.model_dir, self.flags_text, self.free_flags, self.model,
                                 self.data.manifest)
            run_length.check_change(self.model_dir, self.training, self._num_records, self.course,
                                    self.change_length)
        if from_itself:
            raise UserError(f"--init_from and --model_dir are one folder, {self.model_dir}: name "
                            "another --model_dir.")

    def _check_tokenizer(self) -> None:
        """Raises UserError unless the run it starts from has the data's tokenizer."""
        if Tokenizer.load(self.init_from).fingerprint != self.data.tokenizer.fingerprint:
            raise UserError(f"{self.data.folder} was made with another tokenizer than "
                            f"{self.init_from}: build it again with --tokenizer={self.init_from}.")


@dataclasses.dataclass(frozen=True)
class PreTrainingRunConfig(RunConfig):
    """What a run of pre-training is."""

    probes: ProbeConfig = dataclasses.field(default=ProbeConfig(), kw_only=True)

    @functools.cached_property
    def probe_manifests(self) -> dict[str, Manifest]:
        """Folder -> manifest, of what --probe_data names."""
        return {folder: Manifest.load(folder) for folder in split_paths(self.probes.probe_data)}

    @property
    def probe_names(self) -> list[str]:
        """What the scalars of --probe_data begin with: the names of the folders."""
        return [in_utf8(os.path.basename(os.path.abspath(folder)))
                for folder in self.probe_manifests]

    def check(self) -> None:
        """See `RunConfig.check`; and what is probed fits the model."""
        super().check()
        if (self.probes.probe_induction or self.probe_manifests) and not self.validates:
            raise UserError("--probe_induction and --probe_data measure at validations, and there "
                            f"is nothing to validate on in {self.data.folder}: leave them out, or "
                            "build it with --validation_fraction.")
        if self.probes.probe_induction and self.data.manifest.sequence_length < 4:
            raise UserError("--probe_induction wants windows of 4 tokens or more.")
        for folder, manifest in self.probe_manifests.items():
            self._check_probe(folder, manifest)
        names = ["train", "validation", *self.probe_names]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(f"--probe_data: two curves would be called {min(twice)}; give the "
                            "folder another name.")

    def _check_probe(self, folder: str, manifest: Manifest) -> None:
        """Raises UserError unless a folder holds validation text for this model."""
        if manifest.kind != LANGUAGE_MODEL or not validation_splits(manifest):
            raise UserError(f"--probe_data names {folder}, which has no validation text: make it "
                            "with python -m pipelines.build_corpus --validation_fraction.")
        if manifest.tokenizer_fingerprint != self.data.tokenizer.fingerprint:
            raise UserError(f"--probe_data names {folder}, which was made with another tokenizer "
                            f"than {self.data.folder}: build it again with "
                            f"--tokenizer={self.data.folder}.")
        length = self.data.manifest.sequence_length  # for which there is memory
        if manifest.sequence_length > length:
            raise UserError(f"--probe_data names {folder}, whose windows have "
                            f"{manifest.sequence_length} tokens, and those of {self.data.folder} "
                            f"have {length}: build it with --sequence_length={length}.")


@dataclasses.dataclass(frozen=True)
class FineTuningRunConfig(RunConfig):
    """What a run of fine-tuning is."""

    fine_tuning: FineTuningConfig

    lowest_is_best: ClassVar[bool] = False
    _cadence: ClassVar[str] = "evaluations_per_epoch"

    def course(self, total_steps: int) -> OptimizerConfig:
        """See `RunConfig.course`; warm-up is a share of the updates, which need not be whole."""
        return dataclasses.replace(
            self.optimizer, warmup_steps=self.fine_tuning.warmup_fraction * total_steps)

    @property
    def evaluate_every(self) -> float:
        """See `RunConfig.evaluate_every`; some are asked for an epoch."""
        rows, per_epoch = (self.data.manifest.splits["train"].records,
                           self.fine_tuning.evaluations_per_epoch)
        return rows / self.training.batch_size / per_epoch if per_epoch else 0

    @property
    def score_names(self) -> list[str]:
        """See `RunConfig.score_names`."""
        manifest = self.data.manifest
        return [f"{split}/{name}" for split in validation_splits(manifest)
                for name in (*manifest.task.metrics, "loss")]

    def check(self) -> None:
        """See `RunConfig.check`; nor are more blocks taken over than there are."""
        super().check()
        layers = self.fine_tuning.transfer_layers
        if self.is_from_scratch and layers != -1:
            raise UserError(f"--transfer_layers={layers} takes blocks from --init_from, which is "
                            "none: leave it out, or name a run.")
        if layers > self.model.num_layers:
            raise UserError(f"--transfer_layers={layers}: {self.init_from} has "
                            f"{self.model.num_layers} blocks.")
