"""Texts: what is shown in parts is the text, stop strings end it, each prompt as alone."""

import dataclasses
import io

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.config import GenerationConfig, ModelConfig, SamplingConfig
from gpt_tf.generate import read_prompts
from gpt_tf.generation.generator import Generator
from gpt_tf.generation.writer import Writer
from gpt_tf.model.gpt import GPT
from tests.corpora import tokenizer_dir_fixture, tokenizer_fixture  # noqa: F401

NEW_TOKENS = 14


@pytest.fixture(scope="module")
def generator(tokenizer):
    model = GPT(ModelConfig(vocabulary_size=tokenizer.vocabulary_size, num_layers=1, num_heads=1,
                            hidden_dim=8, intermediate_dim=8, max_sequence_length=32,
                            initializer_range=0.3))
    return Generator(model, SamplingConfig(), GenerationConfig(max_new_tokens=NEW_TOKENS, seed=3))


def writer_of(generator, tokenizer, *stop):
    return Writer(generator, tokenizer, NEW_TOKENS, stop)


def test_what_is_shown_is_the_text(generator, tokenizer):
    writer, shown = writer_of(generator, tokenizer), []
    prompt = writer.encode("the cat", "--prompt")
    text = writer.stream(prompt, shown.append)
    assert "".join(shown) == text.text == tokenizer.decode(prompt + text.token_ids)
    assert len(shown) > 2 and text.text.startswith("the cat")
    assert (text.finish, len(text.token_ids)) == ("length", NEW_TOKENS)
    assert len(text.log_probabilities) == NEW_TOKENS


def test_a_stop_string_ends_a_text(generator, tokenizer):
    writer = writer_of(generator, tokenizer)
    prompt = writer.encode("the cat", "--prompt")
    [whole] = writer.write([prompt], 1)
    new = whole.text[len("the cat"):]
    stop = new[len(new) // 2:][:3]
    [text] = writer_of(generator, tokenizer, "nowhere", stop).write([prompt], 1)
    assert text.text == "the cat" + new[:new.index(stop)] and text.finish == "stop"
    assert text.token_ids == whole.token_ids[:len(text.token_ids)]
    assert len(text.token_ids) == len(text.log_probabilities) < NEW_TOKENS
    shown = []
    assert writer_of(generator, tokenizer, stop).stream(prompt, shown.append) == text
    assert "".join(shown) == text.text


def test_a_stop_string_in_the_prompt_ends_nothing(generator, tokenizer):
    writer = writer_of(generator, tokenizer, "the c")
    [text] = writer.write([writer.encode("the cat", "--prompt")], 1)
    assert text.finish == "length"


def test_samples_of_each_prompt(generator, tokenizer):
    writer = writer_of(generator, tokenizer)
    prompts = [writer.encode(prompt, "here") for prompt in ("the cat", "a dog sat on a mat")]
    texts = writer.write(prompts, 2)
    assert [text.sample for text in texts] == [0, 1, 0, 1]
    assert texts[0].text != texts[1].text
    for beside, alone in zip(texts[2:], writer.write(prompts[1:], 2), strict=True):
        # Products of other numbers of rows are rounded otherwise on processors without AVX-512.
        assert beside.log_probabilities == pytest.approx(alone.log_probabilities, rel=1e-6)
        assert beside == dataclasses.replace(alone, log_probabilities=beside.log_probabilities)


def test_an_empty_prompt_starts_behind_a_line_break(generator, tokenizer):
    writer, shown = writer_of(generator, tokenizer), []
    prompt = writer.encode("  ", "--prompt")
    [expected] = generator([[tokenizer.newline_id]])
    [text] = writer.write([prompt], 1)
    assert (prompt, text.token_ids, text.text) == ([], expected, tokenizer.decode(expected))
    assert writer.stream(prompt, shown.append) == text and "".join(shown) == text.text


def test_errors(generator, tokenizer):
    writer = writer_of(generator, tokenizer)
    with pytest.raises(UserError, match="fill the model's 32 positions"):
        writer.encode("the cat sat " * 40, "prompts.txt, line 3")


def test_prompts_of_a_file():
    assert list(read_prompts(io.BytesIO(b"a word\r\n\nb"), "x")) == [
        (1, "a word", "x, line 1"), (3, "b", "x, line 3")]
    # A byte order mark is no prompt's; there are no comments.
    assert list(read_prompts(io.BytesIO(b"\xef\xbb\xbf\n \n# so\n\n \n"), "x")) == [
        (3, "# so", "x, line 3")]
    for nothing in (b"", b"\n \n"):
        with pytest.raises(UserError, match="x holds no prompt: give one on each line"):
            list(read_prompts(io.BytesIO(nothing), "x"))
    with pytest.raises(UserError, match="x, line 2 is not UTF-8"):
        list(read_prompts(io.BytesIO(b"a\n\xff\n"), "x"))
