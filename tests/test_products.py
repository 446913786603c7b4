"""FLOPs of a training step by hand, and the products that make them."""

import pytest

from gpt_tf.config import ModelConfig
from gpt_tf.training import products

# Of a width of 8, an inner one of 16, 2 heads, 3 blocks, 16 tokens, 11 rows of the softmax.
SHAPE = ModelConfig(vocabulary_size=10, num_special_tokens=1, num_layers=3, num_heads=2,
                    hidden_dim=8, intermediate_dim=16, max_sequence_length=16)


def test_flops_of_a_token_by_hand():
    in_products = 3 * (8 * 24 + 8 * 8 + 8 * 16 + 16 * 8) + 11 * 8
    assert products.flops_per_token(SHAPE, 16) == 6 * in_products + 12 * 3 * 8 * 16
    # The queries of 16 tokens meet 1 + 2 + ... + 16 = 136 keys, 8.5 each.
    assert products.flops_per_token(SHAPE, 16, below_diagonal=True) == (
        6 * in_products + 12 * 3 * 8 * 8.5)


@pytest.mark.parametrize("chunk", [7, 32, 1000])
def test_products_are_these_flops(chunk):
    made = products.of_step(SHAPE, 16, 2, chunk)
    assert sum(product.count * product.flops for product in made) == pytest.approx(
        32 * products.flops_per_token(SHAPE, 16), rel=1e-12)
    if chunk == 7:  # 32 tokens are 5 chunks of 7, the last of them in part
        assert (made[-3].rows, made[-3].count) == (7, 32 / 7)
    for product in made:
        (*batch, rows, depth), (*same, also_depth, columns) = product.shapes()
        assert batch == same and depth == also_depth
        assert product.flops == 2 * (batch or [1])[0] * rows * depth * columns


def test_peak_is_each_product_at_its_rate():
    made = [products.Product("a", 2, 5, 10, 10), products.Product("b", 0.5, 10, 20, 10)]
    # 2,000 FLOP at 100 and 2,000 at 300 FLOP/s: 4,000 in 80/3 s.
    assert products.peak(made, [100.0, 300.0]) == pytest.approx(150.0)


def test_a_rate_is_that_of_the_product():
    [rate] = products.measure([products.Product("a", 1, 256, 256, 256)])
    assert 1e8 < rate < 1e14
