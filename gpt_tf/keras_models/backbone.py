"""The decoder as a KerasNLP `Backbone`, and run folders as presets."""

import dataclasses
import os

import keras
import keras_nlp

from gpt_tf.config import ModelConfig
from gpt_tf.keras_models.preset import explain
from gpt_tf.model.gpt import GPT
from gpt_tf.runs import run_folder, weights
from gpt_tf.tokenizer import SPECIAL_TOKENS

_PACKAGE = "gpt_tf"
register = keras.saving.register_keras_serializable(_PACKAGE)


def is_run_folder(preset: str) -> bool:
    """Whether `preset` is a run folder of `gpt_tf` and not a preset that Keras has saved."""
    return os.path.exists(os.path.join(preset, "model.json"))


@register
class GPTBackbone(keras_nlp.models.Backbone):
    """GPT-1's decoder: token ids to hidden states (Radford et al. 2018, section 3.1).

    A `keras_nlp.models.Backbone` around `gpt.GPT`, whose Dense layers are called "query", "key",
    "value", "output" and "intermediate": `enable_lora(rank)` finds the queries and values.
    Dropout is drawn by the `fit` of the tasks, which keys it as the Trainer does; called directly,
    with or without `training=True`, the backbone drops nothing.

    Args:
      seed: decides the initial weights and, in `fit`, the dropout.
      dtype: a dtype policy.
      name, trainable: see `keras.Model`.
      **shape: fields of `config.ModelConfig`; the paper's values are the defaults.

    Inputs: {"token_ids": int32 [B, T], "padding_mask": int32 [B, T], ones before the padding}.
    Output: [B, T, D] in the compute dtype.

    Example:
      backbone = GPTBackbone(num_layers=2, num_heads=4, hidden_dim=64, intermediate_dim=256)
      hidden = backbone({"token_ids": ids, "padding_mask": mask})
    """

    def __init__(self, *, seed: int = 0, dtype=None, name=None, trainable=True, **shape):
        self.config = ModelConfig(**shape)
        self.seed = seed
        self.gpt = GPT(self.config, seed=seed, dtype=dtype or keras.config.dtype_policy())
        inputs = {key: keras.Input([None], dtype="int32", name=key)
                  for key in ("token_ids", "padding_mask")}
        super().__init__(inputs=inputs, outputs=self.gpt(inputs["token_ids"]), dtype=dtype,
                         name=name, trainable=trainable)
        self.token_embedding = self.gpt.embedding.token

    def get_config(self):
        """Everything the constructor takes."""
        return super().get_config() | dataclasses.asdict(self.config) | {"seed": self.seed}

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Like `keras_nlp`'s; `preset` may also be a run folder of `gpt_tf`.

        Raises:
          UserError: a run folder that has no whole checkpoint, or a damaged preset.
        """
        if not is_run_folder(preset):
            with explain(preset):
                return super().from_preset(preset, load_weights=load_weights, **kwargs)
        backbone = cls(**dataclasses.asdict(run_folder.load_config(preset)) | kwargs)
        if load_weights:
            backbone.gpt.assign(weights.load_model(preset)[0])
        return backbone

    def enable_lora(self, rank, target_layer_names=None):
        """Like `keras_nlp`'s, but the biases are frozen, too: only LoRA's matrices train."""
        super().enable_lora(rank, target_layer_names)
        for layer in self._flatten_layers(include_self=False):
            if getattr(layer, "lora_enabled", False) and getattr(layer, "bias", None) is not None:
                layer.bias.trainable = False

    def with_special_tokens(self) -> "GPTBackbone":
        """This backbone, if it has rows for the special tokens; or a copy that has, new."""
        if self.config.num_special_tokens == len(SPECIAL_TOKENS):
            return self
        larger = GPTBackbone.from_config(
            self.get_config() | {"num_special_tokens": len(SPECIAL_TOKENS)})
        larger.gpt.assign(self.gpt)
        return larger
