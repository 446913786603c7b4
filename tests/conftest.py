"""What all tests share: the development data, and other golden files given by hand."""

import gc
import os
import pathlib
import tempfile

import pytest

from gpt_tf.common import cli

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# The longest first, from two minutes down to some 20 seconds; shorter ones fill what is left.
LONGEST = ("test_export", "test_commands", "test_training", "test_finetuning",
           "test_workers", "test_convert", "test_task_model", "test_fuzz", "test_keras_fit",
           "test_finetune_command", "test_keras", "test_predict", "test_zero_shot")


def pytest_addoption(parser):
    parser.addoption("--golden", default=None, metavar="PATH",
                     help="npz of the released program's numbers, for test_openai_parity.py")
    parser.addoption("--golden_tokens", default=None, metavar="PATH",
                     help="jsonl of text and released token ids, for test_tokenizer_parity.py")
    parser.addoption("--gpt2", default=None, metavar="FOLDER",
                     help="encoder.json and vocab.bpe of GPT-2, for peers/test_byte_level.py")


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of development data; the test is skipped, with this reason, without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"development data not found at {folder}; CI has it")
    return folder


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory):
    """What libraries leave in the folder for temporary files goes when pytest tidies its own."""
    folder = str(tmp_path_factory.mktemp("left-by-libraries"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="module", autouse=True)
def garbage():
    """That of the files before goes, and the collector passes over what stays of them: while graphs
    are traced it would look through all of it, half a second each time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """The longest files first, so that the processes of `make test` end together."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


def pytest_configure():
    """TensorFlow as whoever uses the package imports it, with two logical CPU devices, so that
    `mirrored` can be tried without GPUs; those of the machine are hidden, here and from processes.
    Nor do these touch the compiled programs in the user's cache."""
    gc.set_threshold(*gc.get_threshold()[:2], 100)  # there is memory for a file's garbage
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["TF_XLA_FLAGS"] = "--tf_xla_persistent_cache_directory="
    cli.import_tensorflow(whole=True)
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
