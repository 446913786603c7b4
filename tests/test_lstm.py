"""The LSTM of the ablation, against Keras's own layer; and its runs by the same recipes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.paper.arms import equal_units
from benchmarks.paper.lstm_block import LSTMBlock, in_place_of_blocks
from gpt_tf.config import ModelConfig
from gpt_tf.model.gpt import GPT
from gpt_tf.model.layers import DecoderBlock
from gpt_tf.model.trunk import compiled_trunk, whole_trunk

CONFIG = ModelConfig(vocabulary_size=30, num_layers=1, num_heads=1, hidden_dim=6,
                     intermediate_dim=10, max_sequence_length=24, initializer_range=0.5)
TOKEN_IDS = tf.reshape(tf.range(21) * 8 % 30, [3, 7])


@pytest.fixture(name="model", scope="module")
def model_fixture():
    with in_place_of_blocks():
        model = GPT(CONFIG, seed=2, dtype="float64")
    assert isinstance(model.blocks[0], LSTMBlock)
    assert isinstance(GPT(CONFIG).blocks[0], DecoderBlock)
    return model


def with_gradients(function, variables):
    """What a function returns, and the gradients of a sum of it with unlike weights."""
    with tf.GradientTape() as tape:
        output = function()
        weights = tf.cos(tf.reshape(tf.range(tf.size(output), dtype=output.dtype), output.shape))
        total = tf.reduce_sum(weights * output)
    return [output, *map(tf.convert_to_tensor, tape.gradient(total, [v.value for v in variables]))]


@pytest.mark.parametrize("trunk", [whole_trunk, compiled_trunk])
def test_it_is_kerass_layer(model, trunk):
    [block] = model.blocks
    kernel, bias = block.input_projection.weights
    layer = keras.layers.LSTM(CONFIG.intermediate_dim, return_sequences=True, dtype="float64")
    layer.build([None, None, CONFIG.hidden_dim])
    np.testing.assert_array_equal(bias, layer.cell.bias)  # the forget gate's is 1
    layer.set_weights([kernel, block.recurrent, bias])
    output, embedding = block.output_projection, model.embedding

    def theirs():
        states = layer(embedding.token(TOKEN_IDS) + embedding.position(tf.range(7)))
        return tf.matmul(states, output.kernel) + output.bias

    common = [embedding.token.embeddings, embedding.position.embeddings, output.kernel,
              output.bias]
    run = trunk(model)
    ours = tf.function(lambda: with_gradients(lambda: run(TOKEN_IDS, None)[0],
                                              [kernel, block.recurrent, bias, *common]))
    for our, their in zip(ours(), with_gradients(theirs, [*layer.trainable_variables, *common]),
                          strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-9, atol=1e-12)


def test_parameters_are_those_of_the_decoder(model):
    units, width = CONFIG.intermediate_dim, CONFIG.hidden_dim
    assert model.blocks[0].count_params() == 4 * units**2 + (5 * width + 4) * units + width
    decoder = ModelConfig(num_layers=4, num_heads=4, hidden_dim=128, intermediate_dim=512)
    units = equal_units(decoder)
    assert 4 * units**2 + 644 * units + 128 == pytest.approx(4 * 198_272, rel=0.005)


def test_it_goes_on_from_a_state(model):
    starts = [0, 3]  # the second row begins three columns later
    caches = model.empty_caches(tf.constant(starts), 64)
    hidden = []
    for columns in (slice(0, 4), slice(4, 5), slice(5, 7)):
        part, caches = model.call_with_cache(TOKEN_IDS[:2, columns], caches)
        hidden.append(part)
    for row, start in enumerate(starts):
        np.testing.assert_allclose(tf.concat(hidden, axis=1)[row, start:],
                                   model(TOKEN_IDS[row:row + 1, start:])[0], rtol=1e-12)
