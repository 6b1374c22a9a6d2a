"""Reading, overriding and refusing configurations."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from multimix.config import RunConfig
from multimix.errors import UsageError

EVERYTHING = {
    "method": "umtl-s",
    "seed": 3,
    "device": "cpu",
    "precision": "bf16-mixed",
    "validate_every": 7,
    "patience": 4,
    "checkpoint_seconds": 1.5,
    "init": "chest-xray",
    "data": {
        "manifest": "some where/ä.csv",
        "class_source": ["a", "b"],
        "mask_source": ["123"],
        "class_labels": 100,
        "mask_labels": 10,
        "classes": ["no", "yes"],
        "structures": ["lungs", "heart"],
        "multi_label": True,
        "size": 32,
        "channels": 3,
    },
    "model": {"widths": [1, 2, 3, 4, 5], "dropout": 0.5},
    "objective": {
        "threshold": 0.9,
        "masks_after": 0.1,
        "mask_threshold": 0.7,
        "pseudo_weight": 1.0,
        "dice_weight": 2.0,
        "consistency_weight": 3.0,
        "pseudo_mask_weight": 4.0,
        "location_weight": 5.0,
        "consistency": "released",
    },
    "streams": {
        "classes": 1,
        "unlabelled_classes": 2,
        "masks": 3,
        "micro_batches": 1,
        "balanced": False,
        "augmentation": "paper",
    },
    "optim": {
        "optimizer": "adam",
        "learning_rate": 1e-05,
        "weight_decay": 0.0,
        "schedule": "step",
        "decay_every": 9,
        "steps": 11,
        "ema_decay": 0.0,
    },
}
"""Every field with a value that is not its default."""


def nested(name: str, value: object) -> dict[str, object]:
    """'optim.steps', 3 -> {'optim': {'steps': 3}}"""
    for part in reversed(name.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def field_of(config: RunConfig, name: str) -> object:
    value: object = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


# Reading


def test_every_field_can_be_set():
    config = RunConfig.from_mapping(EVERYTHING)
    assert config.to_mapping() == EVERYTHING
    defaults = RunConfig().to_mapping()
    for name, value in EVERYTHING.items():
        if isinstance(value, dict):
            assert all(defaults[name][k] != v for k, v in value.items()), name
            assert value.keys() == defaults[name].keys()
        else:
            assert defaults[name] != value, name
    assert EVERYTHING.keys() == defaults.keys()


@pytest.mark.parametrize("config", [RunConfig(), RunConfig.from_mapping(EVERYTHING)], ids=["defaults", "all"])
def test_yaml_comes_back_as_it_was(config: RunConfig, tmp_path: Path):
    (tmp_path / "config.yaml").write_text(config.to_yaml(), "utf-8")
    assert RunConfig.read(tmp_path / "config.yaml") == config
    # Plain YAML, in the order of the fields.
    assert list(yaml.safe_load(config.to_yaml())) == [field.name for field in dataclasses.fields(RunConfig)]


def test_a_file_changes_only_what_it_names(tmp_path: Path):
    (tmp_path / "c.yaml").write_text("seed: 5\noptim:\n  learning_rate: 3e-4\n")
    base = RunConfig.from_mapping(EVERYTHING)
    config = RunConfig.read(tmp_path / "c.yaml", base)
    assert (config.seed, config.optim.learning_rate) == (5, 3e-4)
    changed = dataclasses.replace(base, seed=5, optim=dataclasses.replace(base.optim, learning_rate=3e-4))
    assert config == changed
    assert RunConfig.read(tmp_path / "c.yaml").data == RunConfig().data


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "expected a YAML mapping"),
        (b"- 1\n", "expected a YAML mapping"),
        (b"just words", "expected a YAML mapping"),
        (b"a: [", "not a readable YAML file"),
        (b"\xff\xfe\x00\x81", "not a readable YAML file"),
        (b"seed: 2024-99-99", "not a readable YAML file"),
        (b"seed: !!python/object/apply:os.getcwd []", "not a readable YAML file"),
        (b"data: " + b"[" * 5000, "not a readable YAML file"),
        (b"sede: 1", "Unknown configuration field 'sede'"),
        (b"1: 1", "Unknown configuration field '1'"),
        (b"optim:\n  stepz: 1", "Unknown configuration field 'optim.stepz'"),
        (b"optim:", "optim: expected a mapping"),
        (b"seed: x", "seed: expected a value of type int, got 'x'"),
    ],
)
def test_a_bad_file_is_named_in_one_line(content: bytes, complaint: str, tmp_path: Path):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    with pytest.raises(UsageError) as refusal:
        RunConfig.read(file)
    message = str(refusal.value)
    assert message.startswith(str(file))
    assert complaint in message
    assert "\n" not in message
    assert refusal.value.exit_code == 2


def test_a_file_that_is_not_there(tmp_path: Path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError, match="not a readable YAML file"):
            RunConfig.read(path)


def test_an_unknown_field_is_answered_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'model\.width'\. Known here: widths, dropout\.$"):
        RunConfig.from_mapping({"model": {"width": [1]}})


# Overriding


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("seed=7", 7),
        ("patience=null", None),
        ("patience=3", 3),
        ("checkpoint_seconds=2", 2.0),
        ("optim.learning_rate=3e-4", 3e-4),  # YAML 1.1 takes this for text
        ("optim.learning_rate=3.0e-4", 3e-4),
        ("optim.learning_rate=1", 1.0),
        ("data.class_source=kermany", ("kermany",)),
        ("data.class_source=[kermany, nih]", ("kermany", "nih")),
        ("data.class_source=[]", ()),
        ("data.class_labels=100", 100),
        ("data.manifest=a=b.csv", "a=b.csv"),
        ("data.multi_label=true", True),
        ("streams.balanced=no", False),
        ("model.widths=[2, 4, 8, 16, 32]", (2, 4, 8, 16, 32)),
    ],
)
def test_an_override_changes_one_field(assignment: str, expected: object):
    config = RunConfig().override(assignment)
    name = assignment.partition("=")[0]
    value = field_of(config, name)
    assert value == expected
    assert type(value) is type(expected)
    # and nothing else
    assert RunConfig.from_mapping(nested(name, field_of(RunConfig(), name)), config) == RunConfig()


def test_overrides_add_up():
    config = RunConfig().override("optim.steps=3").override("optim.ema_decay=0").override("optim.steps=4")
    assert (config.optim.steps, config.optim.ema_decay) == (4, 0.0)


@pytest.mark.parametrize(
    "assignment",
    [
        *("seed", "=3", "", "optim=3", "optim.steps.x=3", "optim.steps=", "..=3", "optim.steps=[", "sead=3"),
        *(
            "data.manifest=2024-99-99",
            "seed=0b_",
            "data.classes=" + "[" * 5000,
            "optim.steps=!!python/none 1",
        ),
        *("seed=" + "9" * 5000, "optim.learning_rate=" + "9" * 400, "data.classes={a: 1}", "a: b=1"),
    ],
)
def test_a_bad_override_is_refused_in_one_short_line(assignment: str):
    with pytest.raises(UsageError) as refusal:
        RunConfig().override(assignment)
    assert len(str(refusal.value)) < 600
    assert "\n" not in str(refusal.value)


# Values


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("device", "gpu", "--device"),
        ("precision", "64", "--precision"),
        ("seed", -1, "--seed"),
        ("seed", 2**63, "--seed"),
        ("validate_every", 0, "validate_every"),
        ("patience", 0, "patience"),
        ("checkpoint_seconds", -1.0, "checkpoint_seconds"),
        ("data.size", 0, "--size"),
        ("data.size", 100, "--size"),
        ("data.size", -16, "--size"),
        ("data.channels", 2, "--channels"),
        ("data.class_labels", 0, "--class-labels"),
        ("data.mask_labels", -5, "--mask-labels"),
        ("model.widths", [8, 8, 8, 8], "model.widths"),
        ("model.widths", [8, 8, 8, 8, 0], "model.widths"),
        ("model.widths", [], "model.widths"),
        ("model.dropout", 1.0, "model.dropout"),
        ("model.dropout", 0.999, "model.dropout"),
        ("data.classes", ["A", "A"], "--classes"),
        ("data.structures", ["lungs", "lungs"], "--structures"),
        ("model.dropout", -0.1, "model.dropout"),
        ("objective.threshold", 0.0, "objective.threshold"),
        ("objective.threshold", 1.1, "objective.threshold"),
        ("objective.masks_after", 1.5, "objective.masks_after"),
        ("objective.mask_threshold", 0.0, "objective.mask_threshold"),
        ("objective.pseudo_weight", -1.0, "objective.pseudo_weight"),
        ("objective.pseudo_mask_weight", -1.0, "objective.pseudo_mask_weight"),
        ("objective.location_weight", -1.0, "objective.location_weight"),
        ("objective.dice_weight", -1.0, "objective.dice_weight"),
        ("objective.consistency_weight", -1.0, "objective.consistency_weight"),
        ("objective.consistency", "kl", "objective.consistency"),
        ("streams.classes", 0, "streams.classes"),
        ("streams.unlabelled_classes", 0, "streams.unlabelled_classes"),
        ("streams.masks", 0, "streams.masks"),
        ("streams.augmentation", "none", "streams.augmentation"),
        ("optim.optimizer", "sgd", "optim.optimizer"),
        ("optim.learning_rate", 0.0, "optim.learning_rate"),
        ("optim.weight_decay", -1.0, "optim.weight_decay"),
        ("optim.schedule", "cosine", "optim.schedule"),
        ("optim.decay_every", 0, "optim.decay_every"),
        ("optim.steps", 0, "--steps"),
        ("optim.ema_decay", 1.0, "optim.ema_decay"),
    ],
)
def test_a_bad_value_names_its_flag(name: str, value: object, flag: str):
    with pytest.raises(UsageError) as refusal:
        RunConfig.from_mapping(nested(name, value))
    message = str(refusal.value)
    assert message.startswith(f"{flag}: expected ")
    got = tuple(value) if isinstance(value, list) else value
    assert f"got {got!r}. " in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seed", bad) for bad in (1.0, "1", True, None, [1], {})),
        *(("optim.learning_rate", bad) for bad in ("fast", True, None, [1.0], float("nan"), float("inf"))),
        *(("patience", bad) for bad in ("x", 1.5, False)),
        *(("data.multi_label", bad) for bad in (1, "yes", None)),
        *(("data.manifest", bad) for bad in (3, None, ["a"])),
        *(("data.classes", bad) for bad in ([1, 2], None, [None], False)),
        *(("model.widths", bad) for bad in ("abc", [1.5] * 5, None)),
        *(("data", bad) for bad in (None, 3, "x", [])),
    ],
)
def test_a_value_of_another_type_names_its_field(name: str, value: object):
    with pytest.raises(UsageError) as refusal:
        RunConfig.from_mapping(nested(name, value))
    assert str(refusal.value).startswith(f"{name}: expected a ")


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 1  # type: ignore[misc]


def test_names_of_before_are_read():
    before = {"optim": {"average": 0.5}, "streams": {"parts": 2}}
    config = RunConfig.from_mapping(before)
    assert (config.optim.ema_decay, config.streams.micro_batches) == (0.5, 2)
    assert RunConfig().override("optim.average=0.25").optim.ema_decay == 0.25
