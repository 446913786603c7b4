"""Small files of the tasks that a pre-trained model answers as it is."""

import json

from tests.task_files import lines, passage

# Words of the tests' tokenizer, of which "the" and "and" are one token each and "in", too.
SCHEMAS = """\
The ant hit the dad as it had it.
it
The ant,the dad
the dad

He's in.
he
Ann,Dan
ann
"""

FILES = {
    "cola": {"in_domain_train.tsv": lines("x|1||the end.", "x|0|*|and and", "x|1||in the end",
                                          "x|0|*|the the the"),
             "dev_glue.tsv": lines("x|1||in the end.", "x|0|*|the and in")},
    "sst2": {"train.tsv": lines("sentence|label", "the end |0", "in the end |1"),
             "dev.tsv": lines("sentence|label", "and then |1")},
    "race_middle": {"dev/middle/1.txt": json.dumps(passage(
        "it's warm\n in", ("the _ end", ["a", "in the end", "and", "the"], "B"))).encode()},
    "dpr": {"train.c.txt": SCHEMAS.encode()},
}
