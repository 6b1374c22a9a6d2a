"""The paper's methods and published hyper-parameters."""

from dataclasses import fields, replace

import pytest

from multimix.config import RunConfig
from multimix.errors import UsageError
from multimix.recipes import ABLATIONS, METHODS, OURS, PAPER_METHODS, RECIPES, STYLED, Method, method, recipe

FLAGS = ("classify", "segment", "bridge", "pseudo_labels", "consistency")


@pytest.mark.parametrize(
    ("name", "printed", "flags"),
    [
        ("u-net", "U-Net", "segment"),
        ("enc", "Enc", "classify"),
        ("enc-ssl", "EncSSL", "classify pseudo_labels"),
        ("umtl", "UMTL", "classify segment"),
        ("umtl-s", "UMTL-S", "classify segment bridge"),
        ("umtl-ssl", "UMTL-SSL", "classify segment pseudo_labels"),
        ("umtl-s-ssl", "UMTL-S-SSL", "classify segment bridge pseudo_labels"),
        ("multimix", "MultiMix", "classify segment bridge pseudo_labels consistency"),
    ],
)
def test_a_row_of_the_table(name: str, printed: str, flags: str):
    row = method(name)
    assert row.name == printed
    assert " ".join(flag for flag in FLAGS if getattr(row, flag)) == flags


def test_the_papers_table_has_eight_rows():
    assert len(PAPER_METHODS) == 8
    assert len(set(METHODS.values())) == len(METHODS) == 8 + len(ABLATIONS) + len(STYLED)


def test_the_strongest_baselines_use_no_unlabelled_image():
    for row in STYLED.values():
        assert not any((row.pseudo_labels, row.consistency, row.teacher, row.mask_teacher))
        assert row.style
    # Two rows with the same flags: one is an ablation of the default, the other is tuned for itself.
    assert replace(STYLED["umtl-s-style"], name="") == replace(
        ABLATIONS["multimix-plus-no-pseudo-labels"], name=""
    )


def test_each_ablation_leaves_one_ingredient_out_or_adds_one():
    flags = [field.name for field in fields(Method) if field.name != "name"]
    for name, row in ABLATIONS.items():
        changed = {flag for flag in flags if getattr(row, flag) != getattr(OURS, flag)}
        # What is mixed by boxes are the teacher's images.
        teacher = {"pseudo_labels", "class_style", "teacher", "cutmix"}
        assert changed == {
            "multimix-plus": set(),
            "multimix-plus-class-style": {"class_style"},
            "multimix-plus-guide": {"guide"},
            "multimix-focus": {"focus", "guide"},
            "multimix-focus-no-guide": {"focus"},
            "multimix-focus-no-bridge": {"focus", "bridge"},
            "multimix-t": teacher,
            "multimix-t-mask-teacher": teacher | {"mask_teacher"},
        }.get(name, {name.removeprefix("multimix-plus-no-").replace("-", "_")})


def test_the_published_hyper_parameters():
    config = recipe("paper")
    assert config.method == "multimix"
    objective = config.objective
    assert (objective.threshold, objective.pseudo_weight) == (0.7, 0.25)
    assert (objective.dice_weight, objective.consistency_weight) == (5.0, 0.01)
    assert config.model.widths == (16, 32, 64, 128, 256)
    assert config.model.dropout == 0.25
    assert config.data.size == 256
    optim = config.optim
    assert (optim.optimizer, optim.learning_rate, optim.weight_decay) == ("adam", 1e-4, 0.0)
    # 5,216 images in batches of 10, eight times over.
    assert (optim.schedule, optim.decay_every) == ("step", 8 * -(-5216 // 10))
    assert optim.ema_decay == 0
    streams = config.streams
    assert (streams.classes, streams.unlabelled_classes, streams.masks) == (10, 10, 10)
    assert streams.augmentation == "paper"
    assert not streams.balanced


def test_the_tuned_recipe_weighs_the_papers_terms_anew():
    assert recipe("paper").objective == RunConfig().objective
    assert recipe("tuned").objective == replace(
        RunConfig().objective, threshold=0.95, pseudo_weight=1.0, dice_weight=20.0
    )
    assert RECIPES.keys() == {"ours", "tuned", "paper"}
    assert (recipe("paper").method, recipe("tuned").method, recipe("ours").method) == (
        "multimix",
        "multimix",
        "multimix-plus",
    )
    assert recipe("ours").objective == replace(recipe("tuned").objective, dice_weight=50.0)
    assert recipe("ours").streams == replace(recipe("tuned").streams, balanced=False)
    assert (recipe("tuned").optim.steps, recipe("ours").optim) == (
        500,
        replace(recipe("tuned").optim, steps=1000),
    )


def test_an_unknown_name_gets_the_known_ones():
    with pytest.raises(
        UsageError, match=r"--method 'unet'\. Choose one of: u-net, enc, .*, multimix, multimix-plus, .*\.$"
    ):
        method("unet")
    with pytest.raises(UsageError, match=r"--recipe 'best'\. Choose one of: ours, tuned, paper\.$"):
        recipe("best")
