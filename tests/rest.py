"""What TensorFlow Serving's REST interface makes of a request, for tests where there is no server.

The rules are those of its documentation and of `tensorflow_serving/util/json_tensor.cc`, written
anew: which JSON becomes a tensor of which type and shape, and what of the answer. The model itself
is asked by `served.Client`.
"""

import base64
import json
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

_LARGEST_EXACT = 2**24 - 1  # of the whole numbers that float32 takes


class Refused(Exception):
    """The server would answer with an error of its own, before it asks the model."""


def _value(value, dtype):
    if dtype == tf.string:
        if isinstance(value, dict):
            return base64.b64decode(value["b64"]).decode()
        if isinstance(value, str):
            return value
    elif isinstance(value, bool) or not isinstance(value, int | float):
        pass
    elif dtype.is_integer:
        if isinstance(value, int) and dtype.min <= value <= dtype.max:
            return value
    elif isinstance(value, float) or abs(value) <= _LARGEST_EXACT:
        return value
    raise Refused(f"{value!r} is not of type {dtype.name}")


def _tensor(value, dtype):
    """Nested lists of one shape -> (values, shape)."""
    if not isinstance(value, list):
        return _value(value, dtype), ()
    parts = [_tensor(each, dtype) for each in value]
    if len({shape for _, shape in parts}) > 1:
        raise Refused("lists are not of one size")
    return [part for part, _ in parts], (len(value), *(parts[0][1] if parts else ()))


def _is_object(value):
    return isinstance(value, dict) and set(value) != {"b64"}


def tensors(request, dtypes):
    """Inputs of a signature by name: of rows ("instances") or columns ("inputs").

    Args:
      request: what was sent, JSON.
      dtypes: those of the signature's inputs, by name.

    Raises:
      Refused: the server takes no such request.
    """
    body = json.loads(request)
    rows, columns = body.get("instances"), body.get("inputs")
    if (rows is None) == (columns is None):
        raise Refused("give one of instances and inputs")
    if columns is None:
        if not isinstance(rows, list) or not rows:
            raise Refused("instances is no list, or empty")
        if not _is_object(rows[0]):
            if len(dtypes) > 1:
                raise Refused("several inputs need objects")
            rows = [{name: row} for name in dtypes for row in rows]
        if any(not _is_object(row) or set(row) != set(dtypes) for row in rows):
            raise Refused(f"each row must have the keys {sorted(dtypes)}")
        columns = {name: [row[name] for row in rows] for name in dtypes}
    elif not _is_object(columns):
        if len(dtypes) > 1:
            raise Refused("several inputs need an object")
        columns = {name: columns for name in dtypes}
    if not set(dtypes) <= set(columns):
        raise Refused(f"inputs lacks {sorted(set(dtypes) - set(columns))}")
    return {name: _tensor(columns[name], dtype)[0] for name, dtype in dtypes.items()}


class Server:
    """One exported model behind the rules.

    Args:
      client: a `served.Client`.
      folder: the model's, of one version.

    Attributes:
      folder: as text.
      inputs: types by signature and name.
    """

    def __init__(self, client, folder):
        self._client = client
        self.folder = str(folder)
        saved, = saved_model_pb2.SavedModel.FromString(
            pathlib.Path(folder, "saved_model.pb").read_bytes()).meta_graphs
        self.inputs = {name: {key: tf.as_dtype(info.dtype) for key, info in each.inputs.items()}
                        for name, each in saved.signature_def.items()}

    def predict(self, **body):
        """The answer to a body's POST, JSON: predictions of rows, outputs of columns, or error."""
        name = body.pop("signature_name", "serving_default")
        inputs = tensors(json.dumps(body), self.inputs[name])
        outputs, = self._client.ask([(self.folder, name, inputs)])
        if "error" in outputs:
            return outputs
        columns = {key: value.tolist() for key, value in outputs.items()}
        if "inputs" in body:
            return {"outputs": columns}
        sizes = {len(value) for value in columns.values()}
        assert len(sizes) == 1, "the server answers rows where all outputs have one a row"
        return {"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}
