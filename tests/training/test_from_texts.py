"""From texts to an SAE in a session: runs that are kept, killed, resumed, refused."""

import json
import re
import resource
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

import sae_widgets as sw
from sae_widgets.sae import JumpReLU
from sae_widgets.training.from_texts import train, train_several
from sae_widgets.training.objectives import BatchTopK
from sae_widgets.training.quality import statistics
from sae_widgets.training.recipe import Recipe

HOOK = "blocks.0.hook_resid_post"
HEADS = "blocks.1.attn.hook_z"
TEXTS = [
    " ".join(chr(ord("a") + (n * n + 3 * i * n) % 19) for i in range(4 + n % 9)) for n in range(60)
]


def recipe(hook=HOOK, **options):
    told = {"steps": 12, "batch": 32, "context": 16, "buffer": 200, "lr": 1e-2} | options
    return Recipe(hook, 24, BatchTopK(3), **told)


def trained(model, folder=None, recipe=recipe(), **options):  # noqa: B008
    return train(model, TEXTS, recipe, folder=folder, progress=False, **options)


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(torch.equal(x, y) for (_, x), (_, y) in pairs)


class KillAt(TrainerCallback):
    """The power fails after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(model):
    """A run that nothing interrupts and that is kept nowhere."""
    return trained(model)


def test_an_sae_is_ready_for_a_session(model, whole):
    assert isinstance(whole.activation, JumpReLU)
    assert whole.hook == whole.name == HOOK
    session = sw.Session(model, whole, sample=None)
    features = session.features(TEXTS[5])
    assert len(features.ids) == len(TEXTS[5].split()) + 1
    assert session.recommended(int(whole.stats.density.argmax())).unit == "peak"


def test_the_statistics_are_of_the_weights_that_come_back(model, whole):
    from sae_widgets.training.activations import collect
    from sae_widgets.training.corpus import Corpus

    x = collect(model, HOOK, Corpus(TEXTS, model.tokenizer, 16))
    assert whole.stats.tokens == len(x) > 200
    assert whole.stats.norm == pytest.approx(statistics(whole, x).norm, rel=0.2)
    assert whole.stats.density.sum().item() == pytest.approx(3, abs=1)


def test_it_says_where_it_comes_from(whole):
    told = whole.provenance
    json.dumps(told)
    assert told["recipe"]["objective"]["k"] == 3
    assert told["recipe"]["shards"] == 1
    assert told["vectors"] == 12 * 32


def test_a_killed_run_goes_on_to_the_same_bits(model, whole, tmp_path):
    run = tmp_path / "run"
    go_on = {"existing": "resume", "save_every": 3}
    for step in (7, 11):
        with pytest.raises(KeyboardInterrupt):
            trained(model, run, **go_on, callbacks=[KillAt(step)])
    kept = sorted(path.name for path in run.glob("checkpoint-*"))
    assert kept == ["checkpoint-6", "checkpoint-9"]
    assert same(trained(model, run, **go_on), whole)
    assert same(sw.load_sae(run / HOOK), whole)


def test_a_resumed_run_logs_what_the_whole_one_would(model, tmp_path):
    for name, ends in (("whole", ()), ("killed", (5,))):
        for step in ends:
            with pytest.raises(KeyboardInterrupt):
                trained(model, tmp_path / name, save_every=4, callbacks=[KillAt(step)])
        trained(model, tmp_path / name, existing="resume", save_every=4)
    states = [tmp_path / name / "checkpoint-12/trainer_state.json" for name in ("whole", "killed")]
    logs = [json.loads(state.read_text())["log_history"] for state in states]
    figures = ("step", "loss", "fvu", "l0", "dead", "grad_norm", "learning_rate")
    one, other = ([[line[f] for f in figures] for line in log] for log in logs)
    assert one == other


def test_several_saes_log_the_loss_of_every_step_after_they_are_gone_on_with(model, tmp_path):
    """Two steps make a line, and the run is killed between them."""
    recipes = [recipe(hook, steps=202) for hook in (HOOK, HEADS)]
    kill = {"callbacks": [KillAt(68)]}
    for name, ends in (("whole", ()), ("killed", (kill,))):
        told = {"folder": tmp_path / name, "save_every": 67, "progress": False}
        for end in ends:
            with pytest.raises(KeyboardInterrupt):
                train_several(model, TEXTS, recipes, **told, **end)
        train_several(model, TEXTS, recipes, **told, existing="resume")
    states = [tmp_path / name / "checkpoint-202/trainer_state.json" for name in ("whole", "killed")]
    one, other = (json.loads(state.read_text())["log_history"] for state in states)
    assert [line["loss"] for line in other] == [line["loss"] for line in one]
    assert one[33]["step"] == 68
    parts = [one[33][f"{hook}/loss"] for hook in (HOOK, HEADS)]
    assert one[33]["loss"] == pytest.approx(sum(parts), rel=1e-6)


def test_a_run_that_is_done_comes_back_without_training(model, tmp_path):
    first = trained(model, tmp_path / "run", save_every=5)
    go_on = {"save_every": 5, "existing": "resume", "callbacks": [KillAt(1)]}
    assert same(trained(model, tmp_path / "run", **go_on), first)
    # Earlier versions counted less for the log.
    weights = tmp_path / "run/checkpoint-12/model.safetensors"
    kept = load_file(weights)
    del kept["each.0.tally.steps"], kept["each.0.tally.loss"]
    save_file(kept, weights)
    assert same(trained(model, tmp_path / "run", **go_on), first)


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(
    model, whole, tmp_path, caplog
):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trained(model, run, save_every=3, callbacks=[KillAt(8)])
    (run / "checkpoint-6" / "trainer_state.json").write_text('{"global_st')
    assert same(trained(model, run, existing="resume", save_every=3), whole)
    assert re.search(r"checkpoint-6 is passed over.*goes on from checkpoint-3", caplog.text)


PARTS = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def killed(model, tmp_path_factory):
    """Killed after eight steps, of which checkpoints keep three and six."""
    run = tmp_path_factory.mktemp("killed") / "run"
    with pytest.raises(KeyboardInterrupt):
        trained(model, run, save_every=3, callbacks=[KillAt(8)])
    return run


@pytest.mark.parametrize("part", [*PARTS, "trainer_state.json"])
@pytest.mark.parametrize("harm", ["missing", "cut off", "empty"])
def test_a_checkpoint_that_lacks_something_is_passed_over_for_the_one_before(
    model, whole, killed, tmp_path, part, harm, caplog
):
    run = shutil.copytree(killed, tmp_path / "run")
    path = run / "checkpoint-6" / part
    {"missing": type(path).unlink, "cut off": cut, "empty": lambda path: path.write_bytes(b"")}[
        harm
    ](path)
    assert same(trained(model, run, existing="resume", save_every=3), whole)
    assert re.search(rf"6 is passed over: {part} (is|can).*from checkpoint-3", caplog.text)


@pytest.mark.parametrize("part", [*PARTS, "trainer_state.json"])
def test_a_byte_that_is_another_is_noticed(model, whole, killed, tmp_path, part, caplog):
    run = shutil.copytree(killed, tmp_path / "run")
    path = run / "checkpoint-6" / part
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert same(trained(model, run, existing="resume", save_every=3), whole)
    assert re.search(
        rf"checkpoint-6 is passed over: {part} (is not what was|is missing or)", caplog.text
    )


def test_where_no_checkpoint_is_whole_any_more_nothing_is_begun_anew(model, killed, tmp_path):
    run = shutil.copytree(killed, tmp_path / "run")
    (run / "checkpoint-3" / "scheduler.pt").unlink()
    cut(run / "checkpoint-6" / "optimizer.pt")
    with pytest.raises(
        ValueError,
        match=r"no checkpoint of this run is whole any more.*checkpoint-6: optimizer\.pt is not "
        r"what was written.*checkpoint-3: scheduler\.pt is missing.*--replace",
    ):
        trained(model, run, existing="resume")
    assert (run / "checkpoint-3" / "optimizer.pt").is_file()


def test_a_run_that_was_killed_while_it_wrote_its_first_checkpoint_begins_anew(
    model, whole, killed, tmp_path, caplog
):
    run = shutil.copytree(killed, tmp_path / "run")
    shutil.rmtree(run / "checkpoint-6")
    (run / "checkpoint-3" / "trainer_state.json").unlink()
    assert same(trained(model, run, existing="resume", save_every=5), whole)
    assert re.search(r"checkpoint-3 is passed over: trainer_state\.json", caplog.text)


def test_a_run_is_not_overwritten_unless_asked(model, whole, tmp_path):
    run = tmp_path / "run"
    trained(model, run)
    with pytest.raises(
        FileExistsError, match=r"holds a run already \(checkpoint-12\). Pass existing"
    ):
        trained(model, run)
    again = trained(model, run, recipe(seed=3), existing="replace")
    assert not same(again, whole)
    assert json.loads((run / "run.json").read_text())["recipes"][0]["seed"] == 3


def test_an_sae_whose_checkpoints_are_gone_is_not_trained_over_by_going_on(model, tmp_path):
    run = tmp_path / "run"
    trained(model, run)
    (run / "notes.md").write_text("mine")
    for checkpoint in run.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    with pytest.raises(FileExistsError, match="no checkpoint to go on from, but an SAE"):
        trained(model, run, existing="resume")
    with pytest.raises(ValueError, match="seed was 0 and is 3 now"):
        trained(model, run, recipe(seed=3), existing="resume")
    assert (run / HOOK).is_dir()
    trained(model, run, recipe(seed=3), existing="replace")
    assert (run / "notes.md").read_text() == "mine"


def test_weights_that_are_no_numbers_are_not_kept_as_a_good_checkpoint(model, tmp_path):
    class Spoil(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
            if state.global_step == 6:
                next(iter(kwargs["model"])).sae.b_dec.data.fill_(torch.nan)

    with pytest.raises(FloatingPointError, match=r"step 6: .*weights.*checkpoint is .*point-3"):
        trained(model, tmp_path / "run", save_every=3, callbacks=[Spoil()])
    assert not (tmp_path / "run" / "checkpoint-6").exists()


def test_what_is_about_a_folder_needs_one(model):
    for options in ({"existing": "resume"}, {"save_every": 3}):
        with pytest.raises(ValueError, match="about a folder; say which"):
            trained(model, **options)


def test_a_folder_of_something_else_is_left_alone(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for existing in ("refuse", "resume", "replace"):
        with pytest.raises(FileExistsError, match="holds something that is no training run"):
            trained(model, tmp_path, existing=existing)
    with pytest.raises(FileExistsError, match="is a file"):
        trained(model, tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_model_recipe_or_text_cannot_go_on(model, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        trained(model, run, save_every=3, callbacks=[KillAt(8)])
    with pytest.raises(ValueError, match=r"recipes 1: lr was 0.01 and is 0.5 now"):
        trained(model, run, recipe(lr=0.5), existing="resume")
    with pytest.raises(ValueError, match=r"recipes 1: objective: k was 3 and is 4 now"):
        trained(
            model, run, Recipe(**{**vars(recipe()), "objective": BatchTopK(4)}), existing="resume"
        )
    with pytest.raises(ValueError, match="texts was"):
        train(model, TEXTS[1:], recipe(), folder=run, existing="resume", progress=False)
    weight = model.blocks[0].mlp.W_in
    with torch.no_grad():
        weight.mul_(2)
    try:
        with pytest.raises(ValueError, match="model: weights was"):
            trained(model, run, existing="resume")
    finally:
        with torch.no_grad():
            weight.div_(2)


def test_a_disk_that_is_full_stops_the_run_and_names_the_last_good_checkpoint(model, tmp_path):
    class Fill(TrainerCallback):
        """From step 5 on no file can grow beyond a kilobyte."""

        def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
            if state.global_step == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(
            OSError, match=r"at step 6: .*last good checkpoint is .*checkpoint-3\. "
        ):
            trained(model, tmp_path / "run", save_every=3, callbacks=[Fill()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in (tmp_path / "run").glob("ch*")) == ["checkpoint-3"]


def test_several_hooks_are_trained_from_one_reading_and_each_as_if_alone(model, whole):
    passes = []
    handle = model.embed.register_forward_hook(lambda *_: passes.append(1))
    try:
        alone = trained(model, recipe=recipe(HEADS))
        made = len(passes)
        both = train_several(model, TEXTS, [recipe(), recipe(HEADS)], progress=False)
        assert len(passes) - made == made
    finally:
        handle.remove()
    assert same(both[0], whole)
    assert same(both[1], alone)
    assert both[1].d_model == 8


def test_a_control_says_that_it_is_one(model):
    assert trained(model, recipe=recipe(frozen=True)).placebo.startswith("Placebo: its directions")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"texts": []}, "no texts were given"),
        ({"texts": TEXTS[:2]}, "the texts give 9 activations in all, which do not fill one batch"),
        ({"texts": [{"story": "a"}]}, "no 'text'; it has 'story'"),
        ({"recipe": recipe("blocks.0.hook_resid_pst")}, "Nearest names: blocks.0.hook_resid_p"),
        ({"recipe": recipe(shards=5)}, "cannot come in equal shares from 5 shards"),
    ],
    ids=["none", "few", "column", "hook", "shards"],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing_behind(
    model, tmp_path, monkeypatch, given, message
):
    monkeypatch.chdir(tmp_path)
    given = {"texts": TEXTS, "recipe": recipe(), "folder": "run"} | given
    with pytest.raises(ValueError, match=message):
        train(model, given.pop("texts"), given.pop("recipe"), progress=False, **given)
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_little_is_refused_before_the_model_reads_any_of_it(model):
    passes = []
    handle = model.embed.register_forward_hook(lambda *_: passes.append(1))
    try:
        for texts, message in (
            (TEXTS[:2], "give 9 activations in all"),
            (["<s>", "<s>"], "no token but special ones"),
        ):
            with pytest.raises(ValueError, match=message):
                train(model, texts, recipe(), progress=False)
    finally:
        handle.remove()
    assert passes == []


def test_texts_that_are_all_shorter_than_a_context_are_read_whole(model, whole):
    longer = trained(model, recipe=recipe(context=32))
    assert same(longer, whole)


def test_recipes_of_one_run_must_agree_and_have_names_of_their_own(model):
    with pytest.raises(ValueError, match="recipes of one run agree in batch; got 32 and 64"):
        train_several(model, TEXTS, [recipe(), recipe(HEADS, batch=64)])
    with pytest.raises(ValueError, match="need names of their own"):
        train_several(model, TEXTS, [recipe(), recipe()])
    with pytest.raises(ValueError, match="no recipe was given"):
        train_several(model, TEXTS, [])


def test_a_model_in_training_mode_is_refused(model):
    model.train()
    try:
        with pytest.raises(ValueError, match="training mode"):
            trained(model)
    finally:
        model.eval()


def test_features_that_died_are_told_of_when_a_training_ends(model, caplog):
    """Of 400 features, of which one is kept for a vector, hardly any can fire in five steps."""
    sae = train(
        model,
        TEXTS,
        Recipe(HOOK, 400, BatchTopK(1), steps=10, batch=32, context=16, buffer=64, lr=0.5),
        progress=False,
    )
    dead = float((sae.stats.density == 0).float().mean())
    assert dead > 0.2
    (line,) = [record.message for record in caplog.records if "are dead" in record.message]
    share = re.match(rf"(\d+) % of the 400 features of SAE '{HOOK}' are dead", line)
    assert int(share[1]) / 100 == pytest.approx(sae.provenance["dead"], abs=0.005)
    assert "in the last 1 steps. A smaller lr than 0.5 helps" in line


def test_where_few_died_nothing_is_told(model, caplog):
    sae = trained(model, recipe=recipe(steps=40))
    assert sae.provenance["dead"] < 0.2
    assert "dead" not in caplog.text


def test_checkpoints_of_earlier_versions_without_sums_are_gone_on_with(
    model, whole, killed, tmp_path, caplog
):
    run = shutil.copytree(killed, tmp_path / "run")
    (run / "checkpoint-6" / "sums.json").unlink()
    assert same(trained(model, run, existing="resume", save_every=3), whole)
    assert "passed over" not in caplog.text
