"""Ranges of flags, which stand in their `config.option`: what is outside of one is refused."""

import dataclasses

import numpy as np
import pytest

from gpt_tf import (
    config,
    convert,
    evaluate,
    export,
    finetune,
    generate,
    predict,
    pretrain,
    zero_shot,
)
from gpt_tf.config import ModelConfig, OptimizerConfig, Options, SamplingConfig, option
from pipelines import build_corpus, build_task, stories, story_tasks, train_bpe

GIVEN = {"input": "in", "output": "out.txt", "output_dir": "out", "tokenizer": "bpe",
         "task": "sst2", "model_dir": "run", "data_dir": "data", "init_from": "none"}
STEPS = {"at_least": -1, "at_most": 1, "above": 0, "below": 0}  # from a limit to what it excludes


def config_classes():
    modules = (config, convert, evaluate, export, finetune, generate, predict, pretrain, zero_shot,
               build_corpus, build_task, stories, story_tasks, train_bpe)
    found = {value for module in modules for value in vars(module).values()
             if isinstance(value, type) and issubclass(value, Options) and value is not Options}
    return sorted(found, key=lambda each: (each.__module__, each.__name__))


def make(config_class, **values):
    """The class with its defaults, `values`, and what must be given."""
    given = {field.name: GIVEN[field.name] for field in dataclasses.fields(config_class)
             if field.name in GIVEN and not field.metadata["choices"]}
    return config_class(**given | values)


@pytest.mark.parametrize("config_class", config_classes(), ids=lambda each: each.__name__)
def test_each_limit_holds(config_class):
    make(config_class)
    for field in dataclasses.fields(config_class):
        for words, limit in field.metadata.get("limits", {}).items():
            kind = int if field.default is None else type(field.default)
            bad = kind(limit + STEPS[words])
            with pytest.raises(ValueError, match=rf"^--{field.name}={bad} must be .*"
                                                 rf"{words.replace('_', ' ')} {limit}\b"):
                make(config_class, **{field.name: bad})
        if field.metadata.get("required"):
            with pytest.raises(ValueError, match=f"^--{field.name} must be given"):
                make(config_class, **{field.name: ""})
        if field.metadata.get("choices"):
            with pytest.raises(ValueError, match=f"^--{field.name}='x' must be one of"):
                make(config_class, **{field.name: "x"})


def test_limits_themselves():
    for rate in (0, 0.0, 0.999, np.float32(0.5)):
        ModelConfig(dropout=rate)
    SamplingConfig(top_p=1)
    with pytest.raises(ValueError, match="^--top_p=0 must be above 0 and at most 1.$"):
        SamplingConfig(top_p=0)
    with pytest.raises(ValueError, match="^--dropout=1 must be at least 0 and below 1.$"):
        ModelConfig(dropout=1)


@pytest.mark.parametrize("values, message", [
    ({"num_layers": "2"}, "--num_layers='2' must be of type int"),
    ({"num_layers": True}, "--num_layers=True must be of type int"),
    ({"num_layers": 2.0}, "--num_layers=2.0 must be of type int"),
    ({"dropout": None}, "--dropout=None must be of type float"),
    ({"softmax_over_positions": 1}, "--softmax_over_positions=1 must be of type bool"),
    ({"dropout": float("nan")}, "--dropout=nan must be a number below"),
    ({"layer_norm_epsilon": float("inf")}, "--layer_norm_epsilon=inf must be a number below"),
    ({"num_layers": 2**31}, "--num_layers=2147483648 must be a number below"),
    ({"num_special_tokens": -1}, "--num_special_tokens=-1 must be at least 0")], ids=str)
def test_values_of_another_kind(values, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ModelConfig(**values)


def test_a_flag_that_may_be_left_out():
    @dataclasses.dataclass(frozen=True)
    class Example(Options):
        count: int | None = option(None, "How many.", at_least=1)

    assert Example().count is None and Example(3).count == 3
    for bad, message in ((0, "--count=0 must be at least 1"), ("1", "'1' must be of type int")):
        with pytest.raises(ValueError, match=message):
            Example(bad)


def test_rules_of_several_fields_come_after():
    with pytest.raises(ValueError, match="^--num_heads=0 must be at least 1"):
        ModelConfig(num_heads=0)  # and not a division by it
    with pytest.raises(ValueError, match="^--learning_rate=0 must be above 0"):
        OptimizerConfig(learning_rate=0)
