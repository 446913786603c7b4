"""The story grammar: the same bytes everywhere, sound English, structure that the words keep."""

import collections
import dataclasses
import hashlib
import itertools
import json
import random
import re

import pytest

from gpt_tf.common.errors import UserError
from pipelines.grammar.stories import OPPOSED, PLOTS, draw_story, generate, render, tell
from pipelines.stories import StoriesConfig, write


@pytest.fixture(scope="module")
def stories():
    return list(generate(seed=5, num_bytes=500_000))


def _draw(plot, seed=0):
    rng = random.Random(seed)
    return next(story for story in iter(lambda: draw_story(rng), None) if story.plot == plot)


def _sentence(story, role, seed):
    return next(sentence for paragraph in tell(story, random.Random(seed))
                for told, sentence in paragraph if told == role)


def _words(text):
    return collections.Counter(re.findall(r"\w+", text.lower()))


def test_bytes_are_pinned():
    """A changed grammar is a changed corpus: pin it anew, and measure what is told of it anew."""
    text = "\n\n".join(text for _, text in generate(seed=1, num_bytes=100_000))
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "a761a8f2b7face13a9fbb81c9070529afbcbff6ea356034780f1a790a911658d")


def test_more_bytes_begin_with_fewer_and_other_seeds_differ():
    few, many = (list(generate(1, count)) for count in (20_000, 40_000))
    assert many[:len(few)] == few
    size = sum(len(text) for _, text in few)
    assert 20_000 <= size < 20_000 + len(few[-1][1])
    assert not {text for _, text in many} & {text for _, text in generate(2, 40_000)}


def test_every_plot_cause_and_ending_can_be_told():
    for plot, tables in PLOTS.items():
        for cause, ending in itertools.product(tables.causes, tables.endings):
            story = dataclasses.replace(_draw(plot), cause=cause, ending=ending)
            for seed in range(40):
                assert not re.search(r"[\[\]{}|]|  ", render(story, random.Random(seed)))


def test_sentences_are_sound(stories):
    for _, text in stories:
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text
        assert 60 <= len(text.split()) <= 300
        for paragraph in text.split("\n"):
            assert paragraph == paragraph.strip() and paragraph.count('"') % 2 == 0, paragraph
            assert re.fullmatch(r'"?[A-Z].*[.!?]"?', paragraph), paragraph
            # Spoken sentences are followed by 'asked Tom.', so only ends outside quotes count.
            for after in re.findall(r'[.!] "?(\w)', paragraph):
                assert after.isupper(), paragraph


def test_pronouns_agree_with_everyone(stories):
    pronouns = {"female": {"she", "her"}, "male": {"he", "him", "his"}}
    alone = collections.Counter()
    for story, text in stories:
        elder = ("female" if story.elder in ("mother", "grandmother", "aunt") else "male")
        genders = {story.hero.gender, story.friend.gender, elder}
        if len(genders) == 1:
            other = pronouns["male" if genders == {"female"} else "female"]
            assert not other & set(_words(text)), text
            alone[story.hero.gender] += 1
    assert min(alone["female"], alone["male"]) > 20


def test_what_comes_early_comes_back(stories):
    """Names, goal, place and tool are told where they enter, and told again further on."""
    for story, text in stories:
        words = _words(text)
        assert words[story.hero.name.lower()] >= 2 and words[story.friend.name.lower()] >= 2
        assert words[story.goal] >= 2 and words[story.place] >= 1
        assert text.count(story.saying) in (0, 2) and text.count(story.tool) in (0, 2), text
        assert story.hero.name != story.friend.name


def test_the_cause_tells_the_first_feeling_and_the_ending_the_last():
    story = dataclasses.replace(_draw("broken"), cause="hero", ending="mended")
    assert (story.first_feeling, story.feeling, story.winner) == ("sorry", "happy", story.hero)
    blamed = dataclasses.replace(story, cause="friend", ending="forgiven")
    assert (blamed.first_feeling, blamed.feeling) == ("angry", "grateful")
    assert story.problem == f"I have broken the {story.goal}"


@pytest.mark.parametrize("plot, good, bad", OPPOSED)
def test_words_alone_do_not_tell_the_feeling(plot, good, bad):
    for seed in range(30):
        story = dataclasses.replace(_draw(plot, seed), ending=good)
        other = dataclasses.replace(story, ending=bad)
        assert story.feeling != other.feeling
        told, told_otherwise = (_sentence(each, "result", seed) for each in (story, other))
        assert told != told_otherwise
        assert _words(told) == _words(told_otherwise)


def test_retold_in_other_words(stories):
    for story, text in stories[:50]:
        again = render(story, random.Random(1))
        assert again != text
        for kept in (story.hero.name, story.friend.name, story.goal, story.place, story.look):
            assert kept in text and kept in again, (text, again)
        assert render(story, random.Random(1)) == again


def test_jsonl_keeps_the_structure(tmp_path):
    path = tmp_path / "made" / "stories.jsonl"
    count = write(StoriesConfig(output=str(path), megabytes=0.05, seed=3))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    expected = list(generate(3, 50_000))
    assert count == len(rows) == len(expected)
    for row, (story, text) in zip(rows, expected):
        assert row["text"] == text
        assert row["hero"] == dataclasses.asdict(story.hero)
        assert (row["plot"], row["ending"], row["feeling"], row["winner"]) == (
            story.plot, story.ending, story.feeling, story.winner.name)


def test_txt_holds_the_texts_and_is_not_overwritten(tmp_path):
    config = StoriesConfig(output=str(tmp_path / "stories.txt"), megabytes=0.01)
    write(config)
    texts = [text for _, text in generate(1, 10_000)]
    assert (tmp_path / "stories.txt").read_text().rstrip("\n").split("\n\n") == texts
    with pytest.raises(UserError, match="there already"):
        write(config)
    write(dataclasses.replace(config, seed=2, overwrite=True))
    assert texts[0] not in (tmp_path / "stories.txt").read_text()


@pytest.mark.parametrize("flags", [{"output": "stories.csv"}, {"output": ""},
                                   {"output": "a.txt", "megabytes": 0.0},
                                   {"output": "a.txt", "seed": -1}])
def test_flags_out_of_range(flags):
    with pytest.raises(ValueError, match="--"):
        StoriesConfig(**flags)
