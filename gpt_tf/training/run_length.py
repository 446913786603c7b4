"""How many updates a run takes, and a run that goes on with another number. No TensorFlow here."""

import dataclasses
from typing import TYPE_CHECKING

from gpt_tf.common.errors import UserError
from gpt_tf.config import LIMIT, TrainingConfig
from gpt_tf.model.schedules import scheduled_rate
from gpt_tf.runs import checkpoint_files, run_folder

if TYPE_CHECKING:
    from gpt_tf.training.run_config import RunConfig

_TYPES = {"num_steps": int, "num_epochs": float}
FLAGS = frozenset(_TYPES)


def _flag(training: TrainingConfig) -> str:
    return (f"--num_steps={training.num_steps}" if training.num_steps
            else f"--num_epochs={training.num_epochs:g}")


def check_total(training: TrainingConfig, total_steps: int) -> None:
    """Sees that a run has an end that can be counted to.

    Raises:
      UserError: it has not.
    """
    if total_steps >= LIMIT:
        raise UserError(f"{_flag(training)} makes {total_steps:,} updates, and a run has fewer "
                        "than 2**31: give less.")


def recorded_steps(config: "RunConfig") -> int:
    """Updates of the run in the run folder, as its flagfile says.

    Raises:
      UserError: the flagfile is damaged.
    """
    flags = run_folder.load_flags(config.model_dir)
    try:
        values = {name: _TYPES[name](flags[name]) for name in FLAGS & flags.keys()}
        training = dataclasses.replace(config.training, **values)
    except ValueError as error:
        raise UserError(f"The flagfile in {config.model_dir} does not say how many updates the run "
                        "has: restore it from a copy.") from error
    return training.total_steps(config.data.manifest.splits["train"].records)


def check_change(config: "RunConfig") -> None:
    """Sees that a run may go on with as many updates as the command says.

    At a constant rate it may: it ends as if it had had this number from the start. Otherwise the
    updates that it has taken had rates of another course, which has to be asked for.

    Raises:
      UserError: it has taken as many already, or its rates would change.
    """
    saved = checkpoint_files.steps(run_folder.checkpoint_folder(config.model_dir))
    if not saved or (before := recorded_steps(config)) == config.total_steps:
        return
    done, total, flag = saved[-1], config.total_steps, _flag(config.training)
    if total <= done:
        raise UserError(f"{config.model_dir} has taken {done:,} updates and {flag} makes {total:,}:"
                        " give a larger number, or name another --model_dir.")
    if config.change_length or _has_same_rates(config, before, total):
        return
    was, is_now = (scheduled_rate(dataclasses.replace(
        config.optimizer, warmup_steps=config.warmup_steps(number)), step, number)
        for step, number in ((done, before), (done + 1, total)))
    raise UserError(
        f"{config.model_dir} is a run of {before:,} updates, of which it has taken {done:,}, and "
        f"{flag} makes {total:,}: the learning rate (--schedule={config.optimizer.schedule}) "
        f"follows their number, and would go from {was:.3g} at update {done:,} to {is_now:.3g} at "
        f"the next and on as in a run of {total:,}. Give --change_length to go on so, the run's "
        "own number, or another --model_dir.")


def _has_same_rates(config: "RunConfig", before: int, total: int) -> bool:
    """Whether each update has the same rate in a run of `before` and in one of `total` updates."""
    warmups = {config.warmup_steps(number) for number in (before, total)}
    return config.optimizer.schedule == "constant" and (len(warmups) == 1 or max(warmups) < 1)
