"""What TensorBoard's own readers find in the folders of small runs."""

import html
import io
import json
import re
import warnings

from matplotlib.image import imread
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from gpt_tf.runs.reporting import as_markdown
from gpt_tf.training.evaluator import Evaluator
from tests.trained import finetune, pretrain

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "html5lib's sanitizer is deprecated", DeprecationWarning)
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin


class Board:
    """A log folder as TensorBoard reads it."""

    def __init__(self, folder):
        self.events = EventMultiplexer(tensor_size_guidance={
            plugin: 0 for plugin in ("scalars", "images", "text")})
        self.events.AddRunsFromDirectory(str(folder))
        self.events.Reload()
        self._context = TBContext(logdir=str(folder), data_provider=MultiplexerDataProvider(
            self.events, str(folder)))

    def tags(self, run="run", plugin="scalars"):
        return set(self.events.GetAccumulator(run).PluginTagToContent(plugin))

    def values(self, tag, run="run"):
        """[(step, array of what was written)]."""
        return [(event.step, event.tensor_proto.string_val or event.tensor_proto.float_val)
                for event in self.events.Tensors(run, tag)]

    def sessions(self):
        """The rows of HParams, with one session each."""
        backend = Context(self._context)
        metrics = [api_pb2.ColParams(metric=info.name) for info in backend.experiment_from_metadata(
            RequestContext(), "", True, backend.hparams_metadata(RequestContext(), ""),
            []).metric_infos]
        groups = list_session_groups.Handler(
            RequestContext(), backend, "", api_pb2.ListSessionGroupsRequest(
                col_params=metrics, slice_size=10, include_metrics=True,
                allowed_statuses=api_pb2.Status.values())).run().session_groups
        assert all(len(group.sessions) == 1 for group in groups)
        return list(groups)

    def layout(self):
        """Title -> chart -> expressions of tags, of Custom Scalars."""
        plugin = CustomScalarsPlugin(self._context)
        categories = json.loads(plugin.layout_impl(RequestContext(), "")).get("category", [])
        assert len({each["title"] for each in categories}) == len(categories)
        return {category["title"]: {chart["title"]: chart["multiline"]["tag"]
                                    for chart in category["chart"]} for category in categories}


def shown(expressions, tags):
    """The tags that each expression finds, as Custom Scalars looks for them."""
    return [[tag for tag in sorted(tags) if re.match(expression, tag)]
            for expression in expressions]


@pytest.fixture(name="pretrained", scope="module")
def pretrained_fixture(tmp_path_factory):
    return pretrain(tmp_path_factory.mktemp("pretrained") / "run")


@pytest.fixture(name="finetuned", scope="module")
def finetuned_fixture(tmp_path_factory):
    """Two runs side by side."""
    folder = tmp_path_factory.mktemp("finetuned")
    finetune(folder / "feeling", "classification", 0.5)
    finetune(folder / "alike", "scores", 0.0)
    return folder


def test_a_run_has_its_own_name(pretrained, finetuned):
    assert set(Board(pretrained.parent).events.Runs()) == {"run"}
    assert set(Board(finetuned).events.Runs()) == {"feeling", "alike"}


def test_samples_differ_among_themselves_and_from_update_to_update(pretrained):
    board = Board(pretrained.parent)
    assert board.tags(plugin="text") == {"samples", "settings/flags"}
    texts = dict(board.values("samples"))
    assert list(texts) == [2, 4, 6]
    # Hardly trained, the model says whatever the random numbers say.
    endings = [sample.rpartition(b"**")[2] for text, in texts.values()
               for sample in text.split(b"\n\n**")]
    assert len(endings) == len(set(endings)) == 9
    assert board.values("settings/flags") == [(1, [b"    --seed=0\n"])]


def test_samples_are_shown_as_they_are():
    with warnings.catch_warnings(action="ignore"):  # of what it imports
        from tensorboard import plugin_util
    for text in ("a *b* _c_ <b>d</b> &amp; `e` [f](g) ![h](i) ~~j~~ <script>k</script> \\ | l",
                 "a\n1. one\n# two\n- three\n> four", "a\n---\n+ b\n=== (c)",
                 'he said, "5.5!"'):
        page = plugin_util.markdown_to_safe_html(f"**{as_markdown(text)}** {as_markdown(text)}")
        assert re.findall("<[^>]*>", page) == ["<p>", "<strong>", "</strong>", "</p>"], page
        assert html.unescape(re.sub("<[^>]*>", "", page)) == f"{text} {text}"
    assert as_markdown("\x1b[31m\u202e") == r"&#92;x1b&#91;31m&#92;u202e"


def test_hparams_have_the_settings_and_the_last_measures(pretrained):
    row, = Board(pretrained.parent).sessions()
    settings = {name: getattr(value, value.WhichOneof("kind"))
                for name, value in row.hparams.items()}
    expected = {"learning_rate": 0.01, "num_layers": 1.0, "jit_compile": False,
                "schedule": "cosine", "init_from": "none", "evaluate_every": 2.0}
    assert settings.items() >= expected.items() and not settings.keys() & {
        "vocabulary_size", "softmax_over_positions"}
    measures = {value.name.tag: value.value for value in row.metric_values}
    rows = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    last = {name: value for each in rows for name, value in each.items() if name != "step"}
    assert measures == pytest.approx(last, rel=1e-6)
    assert (row.name, row.sessions[0].status) == (str(pretrained), api_pb2.STATUS_SUCCESS)


def test_runs_of_equal_settings_are_rows_of_their_own(finetuned):
    rows = {row.name: row for row in Board(finetuned).sessions()}
    assert rows.keys() == {str(finetuned / "feeling"), str(finetuned / "alike")}
    assert rows[str(finetuned / "feeling")].hparams["lm_coef"].number_value == 0.5


def test_train_and_validation_share_a_chart(pretrained):
    board = Board(pretrained.parent)
    assert {name: shown(chart, board.tags()) for name, chart in
            board.layout()["Pre-training"].items()} == {
        "loss": [["train/loss"], ["validation/loss"]],
        "perplexity": [["train/perplexity"], ["validation/perplexity"]]}


def test_joint_and_lm_loss_have_charts_of_their_own(finetuned):
    board = Board(finetuned)
    layout = board.layout()
    assert {name: shown(chart, board.tags("feeling")) for name, chart in
            layout["Fine-tuning: feeling"].items()} == {
        "task loss": [["train/task_loss"], ["validation/loss"]], "LM loss": [["train/lm_loss"]],
        "joint loss": [["train/loss"]], "accuracy": [["validation/accuracy"]],
        "f1": [["validation/f1"]]}
    assert {name: shown(chart, board.tags("alike")) for name, chart in
            layout["Fine-tuning: alike"].items()} == {
        "task loss": [["train/task_loss"], ["validation/loss"]],
        "pearson": [["validation/pearson"]], "spearman": [["validation/spearman"]]}


@pytest.mark.parametrize("run, tag, size", [
    ("feeling", "validation/confusion_matrix", 640), ("alike", "validation/scatter", 800)])
def test_pictures_are_named_by_what_they_show_and_large(finetuned, run, tag, size):
    board = Board(finetuned)
    assert board.tags(run, "images") == {tag}
    for _, (width, height, png) in board.values(tag, run):
        assert int(width) == int(height) == size == len(imread(io.BytesIO(png)))


def profiled(folder):
    """The updates that the run's profile has marked."""
    path, = (folder / "plugins" / "profile").glob("*/*.xplane.pb")
    steps = []
    for plane in xplane_pb2.XSpace.FromString(path.read_bytes()).planes:
        marks = {key for key, kind in plane.event_metadata.items() if kind.name == "train"}
        numbers = {key for key, kind in plane.stat_metadata.items() if kind.name == "step_num"}
        steps += [stat.int64_value for line in plane.lines for event in line.events
                  for stat in event.stats if event.metadata_id in marks and event.duration_ps
                  and stat.metadata_id in numbers]
    return sorted(steps)


def test_a_profile_asked_for_near_the_end_is_written_and_marks_its_updates(pretrained):
    assert profiled(pretrained) == [5, 6]


@pytest.mark.parametrize("installed", [True, False])
def test_who_lacks_the_profile_plugin_is_told_what_to_install(tmp_path, capsys, monkeypatch,
                                                              installed):
    monkeypatch.setattr("gpt_tf.training.run.find_spec",
                        lambda name: installed and name == "xprof" or None)
    pretrain(tmp_path / "run", profile_step=1)
    assert ("pip install xprof" in capsys.readouterr().out) != installed
    assert profiled(tmp_path / "run") == [1, 2, 3, 4, 5]


def test_a_run_that_was_killed_and_goes_on_shows_nothing_double(tmp_path, monkeypatch, pretrained):
    evaluate, calls = Evaluator.__call__, []

    def die_at_the_second(self, *args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(self, *args)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Evaluator, "__call__", die_at_the_second)
        pretrain(folder, profile_step=4)
    assert profiled(folder) == [4]  # what there was of it
    assert Board(tmp_path).sessions()[0].sessions[0].status != api_pb2.STATUS_SUCCESS
    pretrain(folder)  # from update 3 on
    board, whole = Board(tmp_path), Board(pretrained.parent)
    row, = board.sessions()
    assert row.hparams["profile_step"].number_value == 4  # as it began
    assert row.sessions[0].status == api_pb2.STATUS_SUCCESS
    assert board.layout() == whole.layout() and board.tags() == whole.tags()
    rows = [[list(json.loads(line)) for line in (each / "metrics.jsonl").read_text().splitlines()]
            for each in (folder, pretrained)]
    assert rows[0] == rows[1]
    # What it reported of updates that were done again is not shown: update 4.
    assert board.values("settings/flags") == [(1, [b"    --seed=0\n"]), (4, [b"    --seed=0\n"])]
    for tag in (board.tags() | board.tags(plugin="text")) - {"settings/flags"}:
        theirs = dict(whole.values(tag))
        assert [step for step, _ in board.values(tag)] == list(theirs), tag
        if "tokens_per_second" not in tag and "input_wait" not in tag:
            assert dict(board.values(tag)) == theirs, tag
