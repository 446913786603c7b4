"""Whether a run can be measured on some data, told before TensorFlow is imported."""

from gpt_tf.common.errors import UserError
from gpt_tf.data.manifest import Manifest
from gpt_tf.runs import run_folder
from gpt_tf.tokenizer import Tokenizer


def check_data(model_dir: str, data_dir: str, manifest: Manifest) -> None:
    """Sees that a run has weights, and can be measured on the data.

    Raises:
      UserError: the run has no weights, or the data is of another tokenizer, another task, or
        longer than its model takes.
    """
    limit = run_folder.load_config(model_dir).max_sequence_length
    if Tokenizer.load(model_dir).fingerprint != manifest.tokenizer_fingerprint:
        raise UserError(f"{data_dir} was made with another tokenizer than {model_dir}: build it "
                        f"again with --tokenizer={model_dir}.")
    if manifest.task:
        check_task(model_dir, data_dir, manifest)
    elif manifest.sequence_length > limit:
        raise UserError(f"{data_dir} has windows of {manifest.sequence_length} tokens and the "
                        f"model of {model_dir} takes {limit}: build it with "
                        f"--sequence_length={limit}.")


def check_task(model_dir: str, data_dir: str, manifest: Manifest) -> None:
    """Sees that the run was fine-tuned on a task like the data's.

    Raises:
      UserError: it was not fine-tuned, or its task has another form, other labels or scores.
    """
    task, _ = run_folder.load_task(model_dir)
    for field in ("form", "num_sequences", "labels", "score_range"):
        ours, theirs = getattr(task, field), getattr(manifest.task, field)
        if ours != theirs:
            raise UserError(f"{data_dir} holds another task than {model_dir} was fine-tuned on: "
                            f"{manifest.task.name} with {field} {theirs}, where {task.name} has "
                            f"{ours}; name data of that task.")
    limit = run_folder.load_config(model_dir).max_sequence_length
    if manifest.sequence_length > limit:
        raise UserError(f"{data_dir} has sequences of up to {manifest.sequence_length} tokens "
                        f"and the model takes {limit}: build it with --max_length={limit}.")


def check_split(data_dir: str, manifest: Manifest, split: str) -> None:
    """Sees that a split has records, and labels if they are a task's.

    Raises:
      UserError: it has not.
    """
    able = [name for name, each in manifest.splits.items()
            if each.records and (manifest.task is None or each.labelled)]
    if split in able:
        return
    found = f"name one of {', '.join(able)} with --split" if able else "name other data"
    if getattr(manifest.splits.get(split), "records", 0):
        raise UserError(f"The {split} split of {data_dir} has no labels to measure by: {found}.")
    raise UserError(f"{data_dir} has no records for split {split!r}: {found}.")
