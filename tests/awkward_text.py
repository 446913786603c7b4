"""Text that is hard to tokenize exactly: plain lists, and a hypothesis strategy that mixes them."""

from hypothesis import strategies as st

PROSE = """\
The old lighthouse-keeper hadn't slept; the wind — cold, and loud — had kept him awake. “It's
nothing,” he'd said to Mrs. O'Neil, “only the sea…” But she didn't believe him: she'd seen the
boats' lamps go out, one by one, at 4 a.m. (or was it 5?), and she knew what that meant.

“You cannot go,” she said. ‘Why not?’ asked the boy. "Because I'm telling you," came the answer!
He was gonna run anyway — wouldn't you? — and wed. the girl from St. Ives, who's worth £3.50…
They walked 10km that night, to the well-known inn; the inn-keeper's dog wasn't there. Et cetera.
"""

LINE_ENDS = [
    "\n", "\n\n", " \n \n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1e", "\x85", "\u2028", "\u2029",
    "\t", "  ", "\xa0", "\u3000", "\u200b", "\u2009",
]
CONTROL = [
    "\0", "\x01", "\x08", "\x0b", "\x1b[31m", "\x1b[0m", "\x1f", "\x7f", "\x80", "\x9d", "\xad",
    "\ufeff", "\ufff9", "\ufffc", "\ufffd", "\u206a", "\u200d", "\u200f", "\u2060", "\ud83d",
    "\ude00", "\ud83d\ude00", "\U000e0041", "\uffff",
]
HTML = [
    "<", ">", "&", "&amp;", "&AMP;", "&lt;", "&quot;", "&eacute;", "&EACUTE;", "&nbsp;", "&#39;",
    "&#x2019;", "&#133;", "&#10;", "&NewLine;", "&ZeroWidthSpace;", "&amp;lt;", "&c.", "&foo;",
    "<b>", "</p>", "<unk>", "</w>", "\n</w>",
]
MOJIBAKE = [
    "Ã©", "â€™", "â€œ", "â€\x9d", "Ã ", "Â ", "ÃƒÂ©", "ï»¿", "sÃ³", "À\n", "Œ\n", "Ã", "Â", "Ð",
    "à²", "×²", "вЂ", "ГўВЂВ", "â€œÀ\n", "é”a", "ãƒ„", "\x85", "ÅŸ", "l’Ã©", "√±", "¬∞",
]
LETTERS = [
    "é", "e\u0301", "ñ", "İ", "ı", "ẞ", "Σ", "ΣΑΣ", "ǅ", "ŉ", "ﬁ", "ﬃ", "Ａ", "！", "ﾊﾟ", "한글",
    "각",    "中文。", "日本語の、", "ไทย", "عربية", "א\u05b0", "Å", "\u212b", "Ω", "\u2126", "✓",
    "👩\u200d👩\u200d👧", "🇬🇧", "ß", "ø", "ς",
]
QUOTES = [
    "'", "''", '"', "`", "``", "’", "‘", "“", "”", "„", "‚", "‛", "´", "ʼ", "«", "»", "′", "…",
    "...", "....", "—", "–", "―", "-", "--", "- -", "‐", "‑",
]
SPACY = [
    ":)", ":-)", ":P", "x:P:P", "<3", "^_^", "o.O", "wed.", "shes.", "cannot.", "id.", "again.''",
    "(:P:P", "gonna", "dont", "can't've", "'em", "’em", "o'clock", "e.g.", "U.S.A.", "a.m.",
    "5p.m.", "3°C.", "$5", "10%.", "http://a.b/c?d=e&f", "www.x.com.", "a@b.co", "1,000.5",
    "and/or", "x=y", "a.b.C.D", "ABC.", "n't", "'s", "'S.", "12/3", "..a", "C++", "#1", "?!?",
]

_ATOMS = st.one_of(
    st.sampled_from(PROSE.split()),
    st.sampled_from(LINE_ENDS + CONTROL + HTML + MOJIBAKE + LETTERS + QUOTES + SPACY),
    st.text(st.characters(codec=None), max_size=3))


def texts(most_atoms: int = 12) -> st.SearchStrategy[str]:
    """Words, awkward strings and arbitrary characters, with and without whitespace between."""
    spaced = st.tuples(_ATOMS, st.sampled_from(["", "", " ", "\n"])).map("".join)
    return st.lists(spaced, max_size=most_atoms).map("".join)
