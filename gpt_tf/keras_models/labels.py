"""Classes by number and by name, as `text_classifier.GPTTextClassifier` takes them."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from gpt_tf.tasks.task import MOST_CLASSES

_SHOWN = 10  # names in a sentence


def class_names(num_classes: int | None, names: Sequence[str] | None) -> list[str]:
    """The name of each class: "0", "1", ... where only their number is told.

    Raises:
      ValueError: neither is told, they do not agree, or classes cannot be so.
    """
    if num_classes is None and names is None:
        raise ValueError("Give num_classes, or class_names.")
    if isinstance(names, str):
        raise ValueError(f"class_names={names!r:.40} must be a list of strings.")
    if names is None:
        names = map(str, range(min(num_classes, MOST_CLASSES + 1)))
    names = list(names)
    if not 1 < len(names) <= MOST_CLASSES:
        raise ValueError(f"The number of classes must be 2 to {MOST_CLASSES:,}.")
    if num_classes not in (None, len(names)):
        raise ValueError(f"class_names has {len(names)} names and num_classes={num_classes}.")
    if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
        raise ValueError("class_names must be strings, all different.")
    return names


def numbers(labels, names: list[str]):
    """Labels that are names, of any shape -> int32; other labels as they are.

    Raises:
      ValueError: a string is no class's name; while data run through a graph, it is an
        InvalidArgumentError of the same sentence.
    """
    if labels is None or isinstance(labels, (dict, tuple)):
        return labels
    strings = tf.convert_to_tensor(labels)
    if strings.dtype != tf.string:
        return labels
    is_name = strings[..., None] == tf.constant(names)
    unknown = strings[~tf.reduce_any(is_name, axis=-1)]
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    sentence = (f"Labels are numbers or the classes' names ({shown}): give the classifier all "
                "names as class_names, in the order of their numbers. None of them is")
    if tf.executing_eagerly() and len(unknown):
        raise ValueError(f"{sentence} {unknown[0].numpy().decode('utf-8', 'replace')!r:.60}.")
    with tf.control_dependencies([tf.debugging.assert_equal(
            tf.size(unknown), 0, message=f"{sentence} one of the labels.")]):
        return tf.argmax(is_name, axis=-1, output_type=tf.int32)


def class_weights(given: Mapping | None, names: list[str]) -> dict[int, float] | None:
    """The weight of each class by its number, as Keras takes them: one of another key it passes
    over.

    Args:
      given: number or name of a class -> weight.
      names: of all classes.

    Raises:
      ValueError: a key is no class.
    """
    if given is None:
        return None
    numbered = {name: number for number, name in enumerate(names)}
    found = {numbered.get(key, key): weight for key, weight in given.items()}
    for key in found:
        if isinstance(key, bool) or key not in range(len(names)):
            raise ValueError(f"class_weight has the key {key!r:.60}, which is no class: give the "
                             f"numbers 0 to {len(names) - 1}, or names of class_names.")
    return found


def check_numbers(labels, count: int) -> None:
    """Sees that labels at hand, of the joint loss, are numbers of classes.

    Raises:
      ValueError: one is not.
    """
    if labels is None or isinstance(labels, (dict, tuple)):
        return
    values = np.asarray(labels)
    wrong = values[~np.isin(values, np.arange(count))]
    if wrong.size:
        raise ValueError(f"{wrong.flat[0]} is no label of {count} classes, which are the whole "
                         f"numbers 0 to {count - 1}.")


def column(values: tf.Tensor, rows: tf.Tensor, what: str) -> tf.Tensor:
    """What the joint loss takes of each of B examples, [B] or [B, 1] -> [B].

    Args:
      values: their rank may be unknown: Keras makes it so for a model that met both.
      rows: B.
      what: names the values in an error.

    Raises:
      ValueError: the values have another shape.
    """
    if values.shape.rank not in (None, 1) and values.shape[1:] != [1]:
        raise ValueError(
            f"The joint loss takes {what} of the shape [B] or [B, 1], and they have "
            f"{values.shape}: for one-hot labels, compile with "
            "loss=keras.losses.CategoricalCrossentropy(from_logits=True).")
    return tf.reshape(values, [rows])
