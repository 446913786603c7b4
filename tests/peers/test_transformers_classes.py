"""Every class of transformers for this model, both ways, and its tokenizer and pipeline.

Needs requirements-peers.txt (`make test-peers`).
"""

import json
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs requirements-peers.txt")
transformers = pytest.importorskip("transformers", reason="needs requirements-peers.txt")

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.interop import tokenizer_json, vocabularies
from gpt_tf.runs import run_folder, weights
from gpt_tf.tasks import forms
from gpt_tf.tasks.forms import SpecialTokens
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer
from tests import corpora, task_data
from tests.converted import from_run, make_run, to_run
from tests.test_convert_transformers import RELEASED, SENTENCES, assert_same_weights, characters

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
CLASSES = ["OpenAIGPTModel", "OpenAIGPTLMHeadModel", "OpenAIGPTDoubleHeadsModel",
           "OpenAIGPTForSequenceClassification"]
TASKS = {**task_data.TASKS, "entailment": Task(
    "follows", "entailment", 1, ("no", "yes"), (), ("accuracy",))}
TEXTS = ["The end, isn't it?\n\nYes!", "It was a dark night and then, Mr. Smith's."]


def theirs_of(name, tokenizer, **values):
    torch.manual_seed(0)
    return getattr(transformers, name)(transformers.OpenAIGPTConfig(
        vocab_size=tokenizer.vocabulary_size, n_positions=24, n_embd=12, n_layer=2, n_head=3,
        initializer_range=0.3, **values)).eval()


def trunk_of(model):
    return getattr(model, "transformer", model)


def assert_same_trunk(theirs, run):
    """Hidden states of ids of the vocabulary."""
    ours, _ = weights.load_model(str(run))
    ids = np.random.default_rng(3).integers(0, ours.config.vocabulary_size, [3, 24])
    with torch.no_grad():
        hidden = trunk_of(theirs)(torch.from_numpy(ids)).last_hidden_state.numpy()
    np.testing.assert_allclose(ours(tf.constant(ids, tf.int32)), hidden, atol=1e-5)


def save_pickle(model, folder):
    """As releases before 4.35 saved."""
    model.config.save_pretrained(folder)
    model.config.architectures = [type(model).__name__]
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize("added", [0, 1, 3, 5])
@pytest.mark.parametrize("name", CLASSES)
def test_their_classes_are_read(tmp_path, tokenizer, name, added):
    theirs = theirs_of(name, tokenizer)
    if added:
        theirs.resize_token_embeddings(tokenizer.vocabulary_size + added)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs", layout="huggingface")
    told = "\n".join(to_run("huggingface", tmp_path / "theirs", tmp_path / "run"))
    assert (f"{added} of {tokenizer.vocabulary_size + added} rows" in told) == bool(added)
    assert ("is left out: " in told) == (name in CLASSES[2:])
    assert_same_trunk(theirs, tmp_path / "run")
    assert not run_folder.is_fine_tuned(str(tmp_path / "run"))


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("how", ["shards", "pickle", "shards of pickles", "bfloat16 pickle"])
def test_their_files_are_read(tmp_path, tokenizer, name, how):
    theirs, folder = theirs_of(name, tokenizer), tmp_path / "theirs"
    folder.mkdir()
    if how == "shards":
        theirs.save_pretrained(folder, max_shard_size="4KB")
        assert not (folder / "model.safetensors").exists()
    elif how == "shards of pickles":
        theirs.config.save_pretrained(folder)
        state = theirs.state_dict()
        halves = {key: f"pytorch_model-{index % 2}.bin" for index, key in enumerate(state)}
        for half in set(halves.values()):
            torch.save({key: state[key] for key in state if halves[key] == half}, folder / half)
        (folder / "pytorch_model.bin.index.json").write_text(
            json.dumps({"weight_map": halves}))
    else:
        if how == "bfloat16 pickle":
            theirs = theirs.to(torch.bfloat16)
        save_pickle(theirs, folder)
    tokenizer.save(folder, layout="huggingface")
    to_run("huggingface", folder, tmp_path / "run")
    assert_same_trunk(theirs.to(torch.float32), tmp_path / "run")


def test_a_pickle_of_more_than_numbers_is_not_loaded(tmp_path, tokenizer):
    folder = tmp_path / "theirs"
    folder.mkdir()
    save_pickle(theirs_of(CLASSES[1], tokenizer), folder)
    torch.save({"a": print}, folder / "pytorch_model.bin")
    tokenizer.save(folder, layout="huggingface")
    with pytest.raises(UserError, match="holds more than named arrays of numbers and is not load"):
        to_run("huggingface", folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tokenizers_folder_and_a_head_of_choices(tmp_path, tokenizer):
    """Fine-tuned elsewhere with the released program's three tokens; all files theirs."""
    tokenizer.save(tmp_path / "files", layout="huggingface")
    theirs_tokenizer = transformers.OpenAIGPTTokenizer.from_pretrained(tmp_path / "files")
    theirs_tokenizer.add_special_tokens(
        {"pad_token": "<pad>", "additional_special_tokens": list(RELEASED)})
    theirs = theirs_of("OpenAIGPTDoubleHeadsModel", tokenizer)
    theirs.resize_token_embeddings(len(theirs_tokenizer))
    for saved in (theirs, theirs_tokenizer):
        saved.save_pretrained(tmp_path / "theirs")
    assert not (tmp_path / "theirs" / "vocab.json").exists()
    told = "\n".join(to_run("huggingface", tmp_path / "theirs", tmp_path / "run"))
    assert "_start_, _delimiter_, _classify_ are the three tokens" in told
    assert "rows of the token table (<pad>) are behind" in told
    ours, task, _ = weights.load_task_model(str(tmp_path / "run"))
    assert Tokenizer.load(tmp_path / "run").fingerprint == tokenizer.fingerprint
    special = SpecialTokens.after(tokenizer.vocabulary_size)
    sequences = forms.build(task.form, [[5, 6, 7], [8], [9, 10], [11, 12]], special, 24).token_ids
    mine = ours(tf.constant([sequences]), tf.constant([list(map(len, sequences))])).numpy()
    names = dict(zip(special, theirs_tokenizer.convert_tokens_to_ids(list(RELEASED))))
    ids = torch.tensor([[[names.get(index, index) for index in ids] for ids in sequences]])
    with torch.no_grad():
        expected = theirs(ids, mc_token_ids=torch.tensor([[len(each) - 1 for each in sequences]]))
    np.testing.assert_allclose(mine, expected.mc_logits.numpy(), atol=1e-5)


def answer_of(run, tokenizer, *texts):
    """Logits of the run for an example of these texts."""
    model, task, _ = weights.load_task_model(run)
    texts = (texts[0], "", *texts[1:]) if task.form == forms.MULTIPLE_CHOICE else texts
    sequences = forms.build(task.form, [tokenizer.encode(text) for text in texts],
                            SpecialTokens.after(tokenizer.vocabulary_size), 20).token_ids
    ids = tf.ragged.constant(sequences).to_tensor()[None]
    return model(tf.cast(ids, tf.int32), tf.constant([list(map(len, sequences))])).numpy()[0]


@pytest.mark.parametrize("form", TASKS)
def test_our_tasks_answer_the_same_there(tmp_path, tokenizer, form):
    """By the tokenizer that we write, and again after their `save_pretrained`."""
    task = TASKS[form]
    run, folder = make_run(tmp_path / "run", tokenizer, task=task), tmp_path / "hf"
    from_run("huggingface", run, folder)
    kind = CLASSES[2] if task.form == "multiple_choice" else CLASSES[3]
    theirs, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not any(info[each] for each in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    theirs.eval()

    def logits(*texts):
        encoded = theirs_tokenizer(*texts, truncation="only_first", return_tensors="pt")
        with torch.no_grad():
            return theirs(**encoded).logits[0].numpy()

    if form == "multiple_choice":
        answers = ["in", "the end", "42"]
        encoded = theirs_tokenizer(["and then"] * 3, answers, padding=True, return_tensors="pt")
        ends = encoded["attention_mask"].sum(-1) - 1
        with torch.no_grad():
            output = theirs(encoded["input_ids"][None], mc_token_ids=ends[None])
        np.testing.assert_allclose(output.mc_logits[0].numpy(), answer_of(
            run, tokenizer, "and then", *answers), atol=1e-5)
        model, _, _ = weights.load_task_model(run)
        ours = model.gpt.logits(model.gpt(tf.constant(encoded["input_ids"].numpy(), tf.int32)))
        np.testing.assert_allclose(output.logits[0].numpy(), ours, atol=1e-5)
    elif form == "scores":
        both = logits("then", "in it") + logits("in it", "then")
        np.testing.assert_allclose(both, answer_of(run, tokenizer, "then", "in it"), atol=2e-5)
    else:
        pipeline = transformers.pipeline("text-classification", model=theirs, top_k=None,
                                         tokenizer=theirs_tokenizer)
        pairs = [(text,) if form == "classification" else (text, "then") for text in TEXTS]
        inputs = [pair[0] if len(pair) == 1 else {"text": pair[0], "text_pair": pair[1]}
                  for pair in pairs]
        found = pipeline(inputs, batch_size=2, truncation="only_first")
        names = task.label_names or task.labels
        for pair, scores in zip(pairs, found):
            expected = tf.nn.softmax(answer_of(run, tokenizer, *pair)).numpy()
            scores = {each["label"]: each["score"] for each in scores}
            np.testing.assert_allclose([scores[name] for name in names], expected, atol=1e-5)
    for saved in (theirs, theirs_tokenizer):
        saved.save_pretrained(tmp_path / "again")
    to_run("huggingface", tmp_path / "again", tmp_path / "back")
    assert (tmp_path / "back" / "task.json").read_bytes() == (
        tmp_path / "run" / "task.json").read_bytes()
    if form == "multiple_choice":
        assert_same_weights(run, tmp_path / "back")
    else:  # whose bias now stands in the kernel
        texts = TEXTS[:1] if form == "classification" else ["then", "in it"]
        np.testing.assert_allclose(*(answer_of(str(each), tokenizer, *texts)
                                     for each in (run, tmp_path / "back")), atol=2e-5)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_auto_tokenizer_gives_our_ids(tmp_path, language):
    """Also as transformers saves it again, and from that folder here."""
    ours = characters(language)
    tokenizer_json.write(tmp_path, ours)
    first = transformers.AutoTokenizer.from_pretrained(tmp_path)
    first.save_pretrained(tmp_path / "again")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    for theirs in (first, again):
        assert [theirs(text)["input_ids"] for text in SENTENCES] == ours.encode_batch(SENTENCES)
    found = vocabularies.load("huggingface", str(tmp_path / "again"))
    assert found.tokenizer.fingerprint == ours.fingerprint and not found.added
    assert sorted(os.listdir(tmp_path / "again")) == ["tokenizer.json", "tokenizer_config.json"]
