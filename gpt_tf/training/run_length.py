"""How many updates a run takes, and a run that goes on with another number. No TensorFlow here."""

from collections.abc import Callable
import dataclasses

from gpt_tf.common.errors import UserError
from gpt_tf.config import LIMIT, OptimizerConfig, TrainingConfig
from gpt_tf.model.schedules import scheduled_rate
from gpt_tf.runs import checkpoint_files, run_folder

_TYPES = {"num_steps": int, "num_epochs": float}
NAMES = frozenset(_TYPES)  # of the flags that say it


def _flag(training: TrainingConfig) -> str:
    return (f"--num_steps={training.num_steps}" if training.num_steps
            else f"--num_epochs={training.num_epochs:g}")


def check_total(training: TrainingConfig, num_records: int) -> None:
    """Sees that a run has an end that can be counted to.

    Args:
      training: its values.
      num_records: that it trains on.

    Raises:
      UserError: it has not.
    """
    total = training.total_steps(num_records)
    if total >= LIMIT:
        raise UserError(f"{_flag(training)} makes {total:,} updates, and a run has fewer than "
                        "2**31: give less.")


def recorded_steps(model_dir: str, training: TrainingConfig, num_records: int) -> int:
    """Updates of the run in a run folder, as its flagfile says.

    Args:
      model_dir: the run folder.
      training, num_records: of `check_total`; the flagfile says the rest.

    Raises:
      UserError: the flagfile is damaged.
    """
    flags = run_folder.load_flags(model_dir)
    try:
        values = {name: _TYPES[name](flags[name]) for name in NAMES & flags.keys()}
        return dataclasses.replace(training, **values).total_steps(num_records)
    except ValueError as error:
        raise UserError(f"The flagfile in {model_dir} does not say how many updates the run has: "
                        "restore it from a copy.") from error


def check_change(model_dir: str, training: TrainingConfig, num_records: int,
                 course: Callable[[int], OptimizerConfig], may_change: bool) -> None:
    """Sees that a run may go on with as many updates as the command says.

    At a constant rate it may: it ends as if it had had this number from the start. Otherwise the
    updates that it has taken had rates of another course.

    Args:
      model_dir, training, num_records: of `recorded_steps`.
      course: number of updates -> the optimizer of a run of so many.
      may_change: whether the rates of the updates that are left may be of another course.

    Raises:
      UserError: it has taken as many already, or its rates would change and may not.
    """
    saved = checkpoint_files.steps(run_folder.checkpoint_folder(model_dir))
    total = training.total_steps(num_records)
    if not saved or (before := recorded_steps(model_dir, training, num_records)) == total:
        return
    done, flag = saved[-1], _flag(training)
    if total <= done:
        raise UserError(f"{model_dir} has taken {done:,} updates and {flag} makes {total:,}: give "
                        "a larger number, or name another --model_dir.")
    if not may_change and not _has_same_rates(course(before), course(total)):
        was = scheduled_rate(course(before), done, before)
        is_now = scheduled_rate(course(total), done + 1, total)
        raise UserError(
            f"{model_dir} is a run of {before:,} updates, of which it has taken {done:,}, and "
            f"{flag} makes {total:,}: the learning rate (--schedule={course(total).schedule}) "
            f"follows their number, and would go from {was:.3g} at update {done:,} to "
            f"{is_now:.3g} at the next and on as in a run of {total:,}. Give --change_length to go "
            "on so, the run's own number, or another --model_dir.")


def _has_same_rates(before: OptimizerConfig, now: OptimizerConfig) -> bool:
    """Whether each update has the same rate in runs of two numbers of updates."""
    warmups = {before.warmup_steps, now.warmup_steps}
    return now.schedule == "constant" and (len(warmups) == 1 or max(warmups) < 1)
