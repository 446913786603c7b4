"""From Chinese text to a served classifier; German and Russian: tests/peers/test_chains.py."""

from tests import chains
from tests.served import Client


def test_chinese(tmp_path):
    with Client(tmp_path) as client:
        chains.check(tmp_path, "zh", client)
