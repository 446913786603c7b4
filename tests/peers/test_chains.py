"""From Chinese, German and Russian text to a served classifier, which takes a minute."""

import pytest

from tests import chains
from tests.served import Client


@pytest.fixture(name="client", scope="module")
def client_fixture(tmp_path_factory):
    with Client(tmp_path_factory.mktemp("client")) as client:
        yield client


@pytest.mark.parametrize("language", ["zh", "de", "ru"])
def test_from_text_to_a_served_classifier(tmp_path, client, language):
    chains.check(tmp_path, language, client)
