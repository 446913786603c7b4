"""The decoder as a KerasNLP `Backbone`, and run folders as presets."""

import dataclasses
import os

import keras
import keras_nlp

from gpt_tf.common.small_files import json_bytes, read_json, write_recorded
from gpt_tf.config import BEST, ModelConfig
from gpt_tf.hub import models
from gpt_tf.interop import conversion
from gpt_tf.keras_models.decoder import GPT, register
from gpt_tf.keras_models.preset import RecordedPreset, explain, quantized_dtype
from gpt_tf.model import gpt
from gpt_tf.runs import run_folder, weights
from gpt_tf.tokenizer import SPECIAL_TOKENS

# Arguments of a backbone, and those of them that its weights decide.
ARGUMENTS = {"seed", "dtype", *(field.name for field in dataclasses.fields(ModelConfig))}
_SHAPE = ARGUMENTS - {"seed", "dtype", *ModelConfig.NOT_SHAPE}


def is_run_folder(preset: str) -> bool:
    """Whether `preset` is a run folder of `gpt_tf` and not a preset that Keras has saved."""
    return os.path.exists(os.path.join(preset, "model.json"))


@register
class GPTBackbone(RecordedPreset, keras_nlp.models.Backbone):
    """GPT-1's decoder: token ids to hidden states (Radford et al. 2018, section 3.1).

    A `keras_nlp.models.Backbone` around `gpt.GPT`, whose Dense layers are called "query", "key",
    "value", "output" and "intermediate": `enable_lora(rank)` finds the queries and values.

    Args:
      vocabulary_size: V, entries of the tokenizer's vocabulary.
      num_special_tokens: further rows of the token table; a classifier's backbone has 3.
      num_layers: decoder blocks.
      num_heads: attention heads of a block; divides `hidden_dim`.
      hidden_dim: D, width of the hidden states.
      intermediate_dim: inner width of the feed-forward layers.
      max_sequence_length: positions, the most tokens of a sequence.
      dropout, embedding_dropout, attention_dropout: rates on the outputs of the sub-layers, on the
        summed embeddings and on the attention weights.
      layer_norm_epsilon: added to the variance in layer normalisation.
      initializer_range: standard deviation of the initial weights.
      softmax_over_positions: whether the LM softmax runs over the rows of the positions, too.
      seed: decides the initial weights and the dropout; None takes one as Keras's layers do, from
        what `keras.utils.set_random_seed` sets.
      dtype: a dtype policy, such as "mixed_bfloat16"; None: the one that Keras is set to.
      name, trainable: see `keras.Model`.

    The values of the paper are the defaults, and each is an attribute, too.

    Inputs: {"token_ids": int32 [B, T], "padding_mask": int32 [B, T], ones before the padding}.
    Output: [B, T, D] in the compute dtype. Dropout is on with `training=True`.

    Raises:
      ValueError: a value is out of its range.

    Example:
      import numpy as np
      from gpt_tf import GPTBackbone

      backbone = GPTBackbone(vocabulary_size=100, num_layers=2, num_heads=4, hidden_dim=64,
                             intermediate_dim=256, max_sequence_length=32)
      token_ids = np.array([[5, 6, 7, 0]])
      hidden = backbone({"token_ids": token_ids, "padding_mask": token_ids > 0})    # [1, 4, 64]
      logits = backbone.token_embedding(hidden, reverse=True)                      # [1, 4, 100]
    """

    def __init__(self, *, seed: int | None = None, dtype=None, name=None, trainable=True, **shape):
        self.config = ModelConfig(**shape)
        self.gpt = GPT(self.config, seed, dtype or keras.config.dtype_policy())
        self.seed, self._given_seed = self.gpt.seed, seed
        inputs = {key: keras.Input([None], dtype="int32", name=key)
                  for key in ("token_ids", "padding_mask")}
        super().__init__(inputs=inputs, outputs=self.gpt.nodes(inputs["token_ids"]), dtype=dtype,
                         name=name, trainable=trainable)
        self.token_embedding = self.gpt.embedding.token
        for field, value in dataclasses.asdict(self.config).items():
            setattr(self, field, value)

    @property
    def transformer_layers(self) -> list[keras.layers.Layer]:
        """The decoder blocks, each [B, T, D] -> [B, T, D]."""
        return self.gpt.blocks

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """The inputs and the decoder, by whose names files know the weights of its parts."""
        return [*(layer for layer in super().layers if isinstance(layer, keras.layers.InputLayer)),
                self.gpt]

    def get_layer(self, name=None, index=None):
        """A layer, or by its name a part of the decoder: "token", "add_positions", "block_0", ...

        Args:
          name: of the layer.
          index: of the layer in `layers`, where no name is given.

        Raises:
          ValueError: there is no such layer.
        """
        for layer in super().layers:
            if layer.name == name:
                return layer
        return super().get_layer(name, index)

    def get_config(self):
        """Everything the constructor takes."""
        return super().get_config() | dataclasses.asdict(self.config) | {"seed": self._given_seed}

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """A backbone from a preset of `save_to_preset`, or from a run folder of `gpt_tf`.

        Args:
          preset: folder; a name of `presets`, which come with gpt_tf; or a handle of what is
            published: "hf://owner/name", "hf://owner/name@revision" or
            "kaggle://owner/model/keras/variation".
          load_weights: False leaves the initial weights.
          **kwargs: arguments of the class that stand for the preset's, such as `dtype`, `seed` or
            `dropout`; of a run folder also `weights`: "best" or "newest".

        Raises:
          UserError: a run folder that has no whole checkpoint, or a damaged preset.
          ValueError: an argument is not the class's, or contradicts the preset's weights.
        """
        preset = models.local(preset)
        which = kwargs.pop("weights", BEST) if is_run_folder(preset) else None
        for name in kwargs.keys() - (ARGUMENTS | {"name", "trainable"}):
            raise ValueError(f"GPTBackbone.from_preset has no argument {name!r}.")
        for name in kwargs.keys() & _SHAPE if load_weights else ():
            raise ValueError(f"{name} is decided by the weights of {preset}: leave it out, or take "
                             "none of them with load_weights=False.")
        if which is None:
            with explain(preset):
                kwargs.setdefault("dtype", quantized_dtype(preset))
                return super().from_preset(preset, load_weights=load_weights, **kwargs)
        config = run_folder.load_config(preset, which)
        backbone = cls(**dataclasses.asdict(config) | kwargs)
        if load_weights:
            weights.restore(preset, backbone.gpt, which)
        return backbone

    def save_to_preset(self, preset_dir, max_shard_size=10):
        """Writes the configuration and the weights as a preset.

        Args:
          preset_dir: folder to make or to write into.
          max_shard_size: the most GB of a file of weights; None: one file.
        """
        super().save_to_preset(preset_dir, max_shard_size)
        path = os.path.join(preset_dir, "metadata.json")
        # KerasHub calls a task by the first of its bases, whosoever that is.
        tasks = {base.__name__ for task in keras.saving.get_custom_objects().values()
                 if getattr(task, "backbone_cls", None) is GPTBackbone
                 for base in task.__bases__ if issubclass(base, keras_nlp.models.Task)}
        value = read_json(path, "a part of the preset") | {"tasks": sorted(tasks)}
        write_recorded(path, json_bytes(value))

    def enable_lora(self, rank, target_layer_names=None):
        """Freezes all weights and trains low-rank matrices beside kernels (Hu et al. 2021).

        Args:
          rank: of the matrices.
          target_layer_names: of Dense layers; None: "query" and "value".
        """
        super().enable_lora(rank, target_layer_names)
        for layer in self._flatten_layers(include_self=False):
            if getattr(layer, "lora_enabled", False) and getattr(layer, "bias", None) is not None:
                layer.bias.trainable = False

    def export_to_transformers(self, path):
        """Writes the folder that transformers reads, without a tokenizer.

        Args:
          path: folder to make.

        Raises:
          ValueError: something stands there, or the weights are not plain.
          UserError: the layout cannot hold the model, or the place cannot be written.
        """
        conversion.export_model(path, self.in_float32(), None)

    def in_float32(self) -> gpt.GPT:
        """The decoder alone, a copy as runs have it.

        Raises:
          ValueError: LoRA's matrices or quantized ones are in its layers.
        """
        plain = gpt.GPT(self.config)
        self._give_weights(plain)
        return plain

    def with_special_tokens(self) -> "GPTBackbone":
        """This backbone, if it has rows for the special tokens; or a copy that has, new.

        Raises:
          ValueError: a copy is needed, and LoRA's matrices or quantized ones are in the layers.
        """
        if self.config.num_special_tokens == len(SPECIAL_TOKENS):
            return self
        larger = GPTBackbone.from_config(
            self.get_config() | {"num_special_tokens": len(SPECIAL_TOKENS)})
        self._give_weights(larger.gpt)
        return larger

    def _give_weights(self, other: gpt.GPT) -> None:
        if any(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False)
               for layer in self._flatten_layers(include_self=False)):
            raise ValueError("The weights have LoRA's matrices beside them or are quantized: take "
                             "those of a model before enable_lora() or quantize().")
        other.assign(self.gpt)
