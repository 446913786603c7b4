"""Small files in the layouts that the tasks' publishers use; what is odd about those is here."""

import json


def lines(*rows: str) -> bytes:
    """Rows written with | for a tab."""
    return "".join(row.replace("|", "\t") + "\n" for row in rows).encode()


def passages(**files: dict) -> dict[str, bytes]:
    return {name.replace("_", "/", 2) + ".txt": json.dumps(value).encode()
            for name, value in files.items()}


def passage(article: str, *questions: tuple[str, list[str], str]) -> dict:
    """RACE's JSON of (question, options, answer)s."""
    asked, options, answers = map(list, zip(*questions))
    return {"answers": answers, "options": options, "questions": asked, "article": article,
            "id": f"{article}.txt"}


_STORY_HEADER = ("InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
                 "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n")


def stories(count: int, labelled: bool = True) -> bytes:
    """A quoted CSV of Story Cloze; one cell in ten has a line end, quotes and a comma inside."""
    header = _STORY_HEADER if labelled else _STORY_HEADER.replace(",AnswerRightEnding", "")
    rows = []
    for number in range(count):
        first = f'"Ann, {number}, said ""go"".\nSo"' if number % 10 == 3 else f"Ann {number}."
        label = f",{1 + number % 2}" if labelled else ""
        rows.append(f'id{number},{first},Two.,Three.,Four.,"Good, {number}.",Bad.{label}\n')
    return (header + "".join(rows)).encode()


_PAIRS = {"train.tsv": ("One fact.|One claim.", "A \"second fact.|Another claim.", "Third.|Last."),
          "dev.tsv": ("Seen|Unseen",), "test.tsv": ("Not known|At all", "Nor|this")}


def _glue_pairs(first: str, second: str, label: str, labels: tuple[str, ...]) -> dict[str, bytes]:
    files = {}
    for name, pairs in _PAIRS.items():
        is_test = name == "test.tsv"
        header = f"index|{first}|{second}" + ("" if is_test else f"|{label}")
        files[name] = lines(header, *(
            f"{number}|{pair}" + ("" if is_test else f"|{labels[number % len(labels)]}")
            for number, pair in enumerate(pairs)))
    return files


def _mnli() -> dict[str, bytes]:
    """The header's many columns are GLUE's; only three of them count."""
    start = ("index|promptID|pairID|genre|sentence1_binary_parse|sentence2_binary_parse|"
             "sentence1_parse|sentence2_parse|sentence1|sentence2")
    rest = "|p|q|g|b|b|s|s|"
    files = {"train.tsv": lines(start + "|label1|gold_label",
                                f"0{rest}Fact|Claim|neutral|neutral",
                                f"1{rest}Fact 2|Claim 2|contradiction|entailment")}
    for name in ("matched", "mismatched"):
        files[f"dev_{name}.tsv"] = lines(start + "|label1|label2|label3|label4|label5|gold_label",
                                         f"0{rest}In {name}|Claim|a|b|c|d|e|contradiction")
        files[f"test_{name}.tsv"] = lines(start, f"0{rest}Test {name}|Claim")
    return files


# Task -> its files as GLUE or the publisher names them.
PUBLISHED: dict[str, dict[str, bytes]] = {
    "cola": {"train.tsv": lines("gj04|1||Our \"friends came.", "gj04|0|*|Them came. "),
             "dev.tsv": lines("cj99|1||I'm \"out."),
             "test.tsv": lines("index|sentence", "0|Bill whistled.", "1|Him did.")},
    "sst2": {"train.tsv": lines("sentence|label", "hide new secretions |0", "\"so fine |1"),
             "dev.tsv": lines("sentence|label", "a charming journey . |1"),
             "test.tsv": lines("index|sentence", "0|uneasy mishmash", "1|by far worst")},
    "mnli": _mnli(),
    "qnli": _glue_pairs("question", "sentence", "label", ("not_entailment", "entailment")),
    "rte": _glue_pairs("sentence1", "sentence2", "label", ("not_entailment", "entailment")),
    "qqp": {
        "train.tsv": lines("id|qid1|qid2|question1|question2|is_duplicate", "7|1|2|How?|Why?|0",
                           "8|3|4|\"Was it", "\"|Was it not?|1", "9|5|6||Is this one?|0",
                           "10|7|8|Who is \"he?|Who's he?|1"),
        "dev.tsv": lines("id|qid1|qid2|question1|question2|is_duplicate", "11|1|2|A?|B?|1"),
        "test.tsv": lines("id|question1|question2", "0|What?|When?", "1|Where?|")},
    "stsb": {
        "train.tsv": lines("index|genre|filename|year|old_index|source1|source2|sentence1|"
                           "sentence2|score", "0|g|f|2012|1|none|none|A plane.|A jet.|5.000",
                           "1|g|f|2012|4|none|none|A \"man.|A cat.|0.250"),
        "dev.tsv": lines("index|genre|filename|year|old_index|source1|source2|sentence1|"
                         "sentence2|score", "0|g|f|2012|0|none|none|A hat.|A cap.|3.5"),
        "test.tsv": lines("index|genre|filename|year|old_index|source1|source2|sentence1|"
                          "sentence2", "0|g|f|2012|0|none|none|A girl.|A woman.")},
    "scitail": {"scitail_1.0_train.tsv": lines("Pluto \"rotates.|Pluto turns.|entails",
                                               "Ice \"melts.|Ice burns.|neutral"),
                "scitail_1.0_dev.tsv": lines("Salt.|Sugar.|neutral"),
                "scitail_1.0_test.tsv": lines("Acid.|Base.|neutral")},
    "story_cloze": {"cloze_test_val__spring2016.csv": stories(25),
                    "cloze_test_test__spring2016.csv": stories(3)},
    "race_middle": passages(
        train_middle_10=passage("Ten.", ("Last _ ?", ["a", "b", "c", "d"], "D")),
        train_middle_9=passage("Nine\n.", ("Who?", ["I", "you", "he", "she"], "B"),
                               ("What?", ["1", "2", "3", "4"], "A")),
        dev_middle_3=passage("Three.", ("How?", ["so", "thus", "no", "yes"], "C")),
        test_middle_4=passage("Four.", ("Why?", ["w", "x", "y", "z"], "A"))),
}

# Of MRPC as Microsoft published it: a byte order mark, and the rows of GLUE's validation in a list.
_MSR_HEADER = "Quality|#1 ID|#2 ID|#1 String|#2 String"
MSR_PARAPHRASE = {
    "msr_paraphrase_train.txt": b"\xef\xbb\xbf" + lines(
        _MSR_HEADER, "1|702|703|He said \"so.|So he said.", "0|210|211|Gold rose.|Gold fell.",
        "1|133|134|It is \"on.|On it is."),
    "msr_paraphrase_test.txt": b"\xef\xbb\xbf" + lines(_MSR_HEADER, "0|1|2|Third.|Fourth."),
    "mrpc_dev_ids.tsv": lines("210|211", "702|134")}


def write_files(folder, files: dict[str, bytes]) -> str:
    """The folder, with the files."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)
