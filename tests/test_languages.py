"""Words and spaces of languages other than English, and text that is of another language."""

import pathlib

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import spacy
import spacy.lang

from gpt_tf.tokenizer import languages
from gpt_tf.tokenizer.cleaning import clean, standardise
from gpt_tf.tokenizer.languages import LetterSample
from gpt_tf.tokenizer.spacing import join_words
from gpt_tf.tokenizer.words import splitter_of

CHINESE = "这让我明白了一个道理。《红楼梦》、“二十四史”！他说：「好。」"
ENGLISH = "It was a dark and stormy night; the rain fell in torrents, except at times."


def words_of(text: str, language: str) -> list[str]:
    """As a tokenizer of the language has them."""
    return [word.lower() for word in splitter_of(language).split_line(standardise(clean(text)))]


def test_splitting_example():
    assert splitter_of("zh").split_line("你好，2024年5月 GPT4 don't 3.14 한국어는") == [
        "你", "好", "，", "2024", "年", "5", "月", "GPT4", "don't", "3.14", "한국어는"]


@pytest.mark.parametrize("language, text, expected", [
    ("zh", "这让我明白了一个道理。2024年5月3日，GPT-1……",
     "这 让 我 明 白 了 一 个 道 理 。 2024 年 5 月 3 日 , gpt - 1 ......"),
    ("zh-Hant", "「Ａ」的URL是example.com", "「 a 」 的 url 是 example . com"),
    ("ja", "コンピューターは３台、か\u3099くせい", "コ ン ピ ュ ー タ ー は 3 台 、 が く せ い"),
    ("ko", "그는 '좋다'고 3.5%라고 했다.", "그는 ' 좋다 ' 고 3.5 % 라고 했다 ."),
    # Vowels and tones stay with their consonant.
    ("th", "น้ำตาลที่ ๑๒ บาท", "น้ำ ต า ล ที่ ๑๒ บ า ท"),
    ("vi", "Việt Nam (2024), phở!", "việt nam ( 2024 ) , phở !"),
    # Marks beyond letters: keycap, variation, joined people.
    ("zh", "1\ufe0f\u20e3好\U000e0100👨\u200d👩", "1\ufe0f\u20e3 好\U000e0100 👨\u200d 👩")])
def test_words_by_characters(language, text, expected):
    assert words_of(text, language) == expected.split()


def test_chinese_is_spacys():
    """Of Han and punctuation; of other text spaCy makes characters, also of words and numbers."""
    theirs = spacy.blank("zh").tokenizer
    for text in (CHINESE, "我们（都）知道：第二章——“开始”；\U00020000\uf900〇々"):
        assert splitter_of("zh").split_line(text) == [token.text for token in theirs(text)]
    text = "他用GPT4写了 3.14页 don't"
    found = splitter_of("zh").split_line(text)
    assert [*"".join(found)] == [token.text for token in theirs(text) if not token.is_space]
    assert {"GPT4", "3.14", "don't"} < set(found)


@settings(max_examples=300, deadline=None)
@given(chunks=st.lists(st.text("aZ'é1٣.。，-中か한น้ำ\u0301👩\u200d", min_size=1), max_size=5))
def test_chunks_stand_alone(chunks):
    """What is remembered of a chunk is right in every line; nothing is lost."""
    splitter = splitter_of("ja")
    alone = [splitter.split_chunk(chunk) for chunk in chunks]
    assert ["".join(words) for words in alone] == chunks
    assert splitter.split_line(" ".join(chunks)) == sum(alone, [])


def test_no_chunk_takes_long():
    """n * n steps would take hours."""
    splitter = splitter_of("zh")
    for part in ("a", "a'", "1", "1.", ".1", ".", "1a", "中", "น้", "\u0301", "中\u0301", "'"):
        assert "".join(splitter.split_chunk(part * 200_000)) == part * 200_000


@pytest.mark.parametrize("language, text, expected", [
    ("zh", "他说：“你好，世界！”（2024年）《红楼梦》——真好。",
     '他说:"你好,世界!"(2024年)《红楼梦》--真好。'),
    ("zh", "用Hello world, it's me写", "用hello world, it's me写"),
    ("ja", "「はい」と言った。東京・大阪、どう？", "「はい」と言った。東京・大阪、どう?"),
    ("ko", '그는 "안녕"(2024년 5월), 서울.', '그는 "안녕" (2024년 5월), 서울.'),
    ("th", "สวัสดีครับ", "สวัสดีครับ"),
    ("vi", "Việt Nam, “xin chào”!", 'việt nam, "xin chào"!'),
    ("ru", "«Ёлка» (зелёная) — вот: «Да!», и т. д.", "«ёлка» (зелёная) - вот: «да!», и т. д."),
    ("de", "»Komm!«, rief er. „Und du?“ Wie geht's Thomas' Hund (z. B.)?",
     "»komm!«, rief er. \"und du?\" wie geht's thomas' hund (z. b.)?"),
    ("de", "«Grüezi», sagte sie.", "«grüezi», sagte sie."),
    ("es", "¿Qué tal? «¡Muy bien!», dijo.", "¿qué tal? «¡muy bien!», dijo."),
    ("it", "«L'amico dell'uomo», e un po' di pane.", "«l'amico dell'uomo», e un po' di pane."),
    ("nl", "Ik zie 's avonds z'n foto's.", "ik zie 's avonds z'n foto's."),
    ("sv", "»Hej!» sade han.", "»hej!» sade han."),
    ("ar", "قال: «مرحبا»، نعم؟", "قال: «مرحبا»، نعم؟"),
    ("hi", "उसने कहा, \"नमस्ते।\"", "उसने कहा, \"नमस्ते।\""),
    ("xx", "«Ёлка» 中文。", "«ёлка»中文。")])
def test_spacing(language, text, expected):
    assert join_words(words_of(text, language), language) == expected


def test_french_spacing():
    words = "« bonjour ! » dit il ; l' homme qu' il a vu , aujourd'hui : 5 % ( peu ) .".split()
    assert join_words(words, "fr") == (
        "« bonjour ! » dit il ; l'homme qu'il a vu, aujourd'hui : 5 % (peu).")


def test_the_script_of_every_language_is_known():
    codes = {path.name for path in pathlib.Path(spacy.lang.__path__[0]).iterdir()
             if (path / "__init__.py").exists() and len(path.name) <= 3}
    assert codes - {"xx"} == frozenset().union(*languages._WRITTEN.values())


@pytest.mark.parametrize("language, text, said", [
    ("en", CHINESE * 3, ["100% are not Latin", "--language=en", "are Han", "--language=zh or"]),
    ("zh", ENGLISH + CHINESE, ["74% are not Han or Bopomofo", "are Latin", "its own --language"]),
    ("zh", CHINESE * 3 + ENGLISH, []), ("de", ENGLISH, []), ("xx", CHINESE * 3, []),
    ("ru-RU", "ひらがなとカタカナ" * 9, ["are not Cyrillic", "are Hiragana", "--language=ja or"]),
    ("en", "ქართული ენა " * 9, ["are Georgian", "its own --language"]),
    ("en", CHINESE, [])])  # few letters say nothing
def test_letters_of_another_language(language, text, said, capsys):
    letters = LetterSample()
    letters.add(text)
    letters.warn(language)
    error = capsys.readouterr().err
    assert bool(error) == bool(said) and error.count("\n") == bool(said)
    assert all(part in error for part in said), error


def test_a_sample_is_of_all_of_a_text(capsys):
    letters = LetterSample()
    letters.add(CHINESE * 1000 + ENGLISH * 1000)
    letters.warn("zh")
    assert "are not Han or Bopomofo" in capsys.readouterr().err
    assert letters._characters.total() < 500
