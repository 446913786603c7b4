"""What both tasks share as Keras's objects: arguments, the parts of presets, the head's node."""

import inspect

import keras

from gpt_tf.keras_models.backbone import ARGUMENTS, GPTBackbone, is_run_folder
from gpt_tf.keras_models.preset import saved_arguments

# What each task takes beside its own arguments.
_OF_EVERY_TASK = {"name", "trainable", "compile"}


class HeadOfTask(keras.layers.Layer):
    """The last node of a task's graph, whose weights are the backbone's or the task's."""

    def get_config(self):
        """A node that shares weights cannot be made anew from a config.

        Raises:
          NotImplementedError: always; it says what can.
        """
        raise NotImplementedError(
            "The head of a task shares the backbone's weights and cannot be cloned or saved "
            "without them: copy the whole with type(model).from_config(model.get_config()), or "
            "clone its backbone.")


def check_arguments(task: type, kwargs: dict) -> None:
    """Sees that a constructor's further arguments are those of every task: Keras ignores others.

    Raises:
      ValueError: one is not.
    """
    for name in kwargs.keys() - _OF_EVERY_TASK:
        raise ValueError(f"{task.__name__} has no argument {name!r}.")


def give_parts(task: type, preset: str, load_weights: bool, kwargs: dict) -> dict:
    """Arguments of `task.from_preset`, where what is the backbone's or preprocessor's is in them.

    Both parts are made, but for a preset's preprocessor that no argument changes: KerasHub knows
    whether there is one.

    Args:
      task: the class, whose constructor's own arguments stay.
      preset: a preset or a run folder.
      load_weights: whether a backbone has the preset's.
      kwargs: as they were given.

    Raises:
      ValueError: an argument is nobody's, or of a part that is given itself.
      UserError: see `GPTBackbone.from_preset`.
    """
    is_run = is_run_folder(preset)
    own, of_texts = (inspect.signature(each.__init__).parameters.keys() - {"self", "kwargs"}
                     for each in (task, task.preprocessor_cls))
    for part, make, names in (
            ("backbone", lambda values: GPTBackbone.from_preset(preset, load_weights, **values),
             ARGUMENTS - own | ({"weights"} if is_run else set())),
            ("preprocessor", lambda values: task.preprocessor_cls.from_preset(preset, **values),
             of_texts)):
        values = {name: kwargs[name] for name in names & kwargs.keys()}
        kwargs = {name: value for name, value in kwargs.items()
                  if name not in values or name in own}
        if part in kwargs and values.keys() - own:
            raise ValueError(f"{min(values.keys() - own)} is an argument of the {part}, which is "
                             "given: give it there.")
        if part not in kwargs and (values or is_run or part == "backbone"):
            kwargs[part] = make(values)
    check_arguments(task, {name: value for name, value in kwargs.items() if name not in own})
    if not is_run and saved_arguments(task, preset):
        # KerasHub takes a saved mixed policy for no policy, if it is told none.
        kwargs["dtype"] = kwargs["backbone"].dtype_policy
    return kwargs
