"""Functions of token ids as ONNX files: one each, since such a file holds one function."""

from collections.abc import Mapping
import os
import types

import keras
import tensorflow as tf

from gpt_tf.serving.frame import dimensions
from gpt_tf.serving.signatures import Outputs, Signature


def write(model: keras.layers.Layer, signatures: Mapping[str, Signature],
          folder: str) -> dict[str, tuple[str, Outputs]]:
    """Writes the files, each with the weights that it needs.

    The converter holds a graph's constants many times over. So it is given a graph whose weights
    are inputs, and they are put in their places afterwards, under the names of checkpoints.

    Args:
      model: has the weights.
      signatures: functions of it, by name.
      folder: where to write.

    Returns:
      Of each function the name of its file, and the specs of its outputs.
    """
    import onnx
    import tf2onnx

    weights = {variable.path: variable for variable in model.trainable_variables}
    found = {}
    for name, signature in signatures.items():
        traced = _trace(signature, list(weights.values()))
        # It would trace; this one is traced.
        converted, _ = tf2onnx.convert.from_function(
            types.SimpleNamespace(get_concrete_function=lambda traced=traced: traced), ())
        graph = converted.graph
        inputs = [each for each in graph.input if each.name not in weights]
        del graph.input[:]
        graph.input.extend(inputs)
        used = {each for node in graph.node for each in node.input}
        graph.initializer.extend(onnx.numpy_helper.from_array(weights[each].numpy(), each)
                                 for each in weights if each in used)
        for tensor in (*graph.input, *graph.output):
            sizes = tensor.type.tensor_type.shape.dim
            for size, each in zip(sizes, dimensions(size.dim_value for size in sizes)):
                if isinstance(each, str):
                    size.dim_param = each
        found[name] = f"{name}.onnx", traced.structured_outputs
        with open(os.path.join(folder, f"{name}.onnx"), "wb") as stream:
            stream.write(converted.SerializeToString())
    return found


def _trace(signature: Signature, variables: list[keras.Variable]):
    """A concrete function of the values of the variables and the signature's inputs."""
    def run(*tensors):
        values, inputs = tensors[:len(variables)], tensors[len(variables):]
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return signature.function(*inputs)

    return tf.function(run, autograph=False).get_concrete_function(
        *(tf.TensorSpec(each.shape, each.dtype, each.path) for each in variables),
        *(tf.TensorSpec(each.shape, each.dtype, name) for name, each in signature.inputs.items()))
