"""Methods as rows of flags over one model and one objective, and recipes as named configurations."""

from dataclasses import dataclass, replace

from multimix.config import ModelConfig, ObjectiveConfig, OptimConfig, RunConfig, StreamConfig
from multimix.errors import UsageError


@dataclass(frozen=True)
class Method:
    """Which terms and parts a method has."""

    name: str
    """As printed in the paper's tables."""
    classify: bool = False
    """Learns classes: first term of Eq. (1)."""
    segment: bool = False
    """Learns masks: first term of Eq. (2)."""
    bridge: bool = False
    """Has the saliency bridge."""
    pseudo_labels: bool = False
    """Learns from unlabelled class images: second term of Eq. (1)."""
    consistency: bool = False
    """Learns from unlabelled mask images: second term of Eq. (2)."""
    teacher: bool = False
    """Learns classes from the unlabelled images of both tasks, labelled by its own average; in place of the second
    terms of Eq. (1) and (2)."""
    mask_teacher: bool = False
    """The same for masks."""
    cutmix: bool = False
    """What the student sees of unlabelled images shows a box of another one."""
    style: bool = False
    """Mask images vary in rendering (tone curve, uneven field, sharpness, Fourier amplitude) and frame."""
    class_style: bool = False
    """With `style`: labelled class images, too, vary in rendering."""
    locate: bool = False
    """Classes are pooled inside a coarse map of the structures: the bridge's way back."""
    focus: bool = False
    """With `locate`: the classifier sees the image inside that map only, so that what lies outside cannot count."""
    guide: bool = False
    """With `bridge`: the map is scaled by its own mean and enters every stage of the decoder, so that it is heard."""

    @property
    def supervised(self) -> bool:
        """Whether it learns from labelled images alone."""
        return not (self.pseudo_labels or self.consistency or self.teacher)

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that it minimises, as in `training.batch.LossBreakdown`."""
        has = {
            "classification": self.classify,
            "pseudo_label": self.classify and (self.pseudo_labels or self.teacher),
            "dice": self.segment,
            "consistency": self.segment and self.consistency,
            "pseudo_mask": self.segment and self.mask_teacher,
            "location": self.segment and self.locate,
        }
        return tuple(name for name, present in has.items() if present)


PAPER_METHODS = {
    "u-net": Method("U-Net", segment=True),
    "enc": Method("Enc", classify=True),
    "enc-ssl": Method("EncSSL", classify=True, pseudo_labels=True),
    "umtl": Method("UMTL", classify=True, segment=True),
    "umtl-s": Method("UMTL-S", classify=True, segment=True, bridge=True),
    "umtl-ssl": Method("UMTL-SSL", classify=True, segment=True, pseudo_labels=True),
    "umtl-s-ssl": Method("UMTL-S-SSL", classify=True, segment=True, bridge=True, pseudo_labels=True),
    "multimix": Method(
        "MultiMix", classify=True, segment=True, bridge=True, pseudo_labels=True, consistency=True
    ),
}
"""Paper: supplement, Tables 3 and 4, methods."""

OURS = replace(PAPER_METHODS["multimix"], name="MultiMix+", consistency=False, style=True, locate=True)
"""The default. The paper's second term of Eq. (2) compares images of different people, and is left out."""

FOCUS = replace(OURS, name="MultiMix-Focus", focus=True, guide=True)
"""Ours, with a class map that lies in the structures and a saliency that enters every stage of the decoder."""

TEACHER = replace(OURS, name="MultiMix-T", pseudo_labels=False, class_style=True, teacher=True, cutmix=True)
"""The forerunner of OURS, with a teacher in place of the network's own pseudo-labels."""

ABLATIONS = {
    "multimix-plus": OURS,
    "multimix-plus-no-style": replace(OURS, name="without style", style=False),
    "multimix-plus-class-style": replace(OURS, name="with class style", class_style=True),
    "multimix-plus-no-locate": replace(OURS, name="without location", locate=False),
    "multimix-plus-no-bridge": replace(OURS, name="without bridge", bridge=False),
    "multimix-plus-no-pseudo-labels": replace(OURS, name="without pseudo-labels", pseudo_labels=False),
    "multimix-plus-guide": replace(OURS, name="with guide", guide=True),
    "multimix-focus": FOCUS,
    "multimix-focus-no-guide": replace(FOCUS, name="Focus, bridge as published", guide=False),
    "multimix-focus-no-bridge": replace(FOCUS, name="Focus, without bridge", guide=False, bridge=False),
    "multimix-t": TEACHER,
    "multimix-t-mask-teacher": replace(TEACHER, name="MultiMix-T, masks too", mask_teacher=True),
}
"""Ours, and what each ingredient adds: a row leaves one out, or has one that did not help."""

STYLED = {
    "u-net-style": Method("U-Net + style", segment=True, style=True),
    "enc-style": Method("Enc + style", classify=True, style=True, class_style=True),
    "umtl-s-style": replace(OURS, name="UMTL-S + style", pseudo_labels=False),
}
"""Supervised methods with the augmentation of OURS, and its location head where there are both tasks: the strongest
baselines. The last has the flags of `multimix-plus-no-pseudo-labels`; its hyper-parameters are chosen for it."""

METHODS = PAPER_METHODS | ABLATIONS | STYLED


def method(name: str) -> Method:
    """The row called `name`; UsageError where there is none."""
    try:
        return METHODS[name]
    except KeyError:
        raise UsageError(f"Unknown --method {name!r}. Choose one of: {', '.join(METHODS)}.") from None


def cell_name(name: str, class_labels: int | None, mask_labels: int | None, seed: int) -> str:
    """The folder of a benchmark's cell: 'multimix-c100-m10-s0', 'enc-call-s1' where None means all labels."""
    row = method(name)
    used = (("c", class_labels, row.classify), ("m", mask_labels, row.segment))
    budgets = [f"{letter}{'all' if count is None else count}" for letter, count, uses in used if uses]
    return "-".join([name, *budgets, f"s{seed}"])


def paper() -> RunConfig:
    """The published hyper-parameters.

    Adam, learning rate 1e-4, x0.1 every 8 epochs, batches of 10, dropout 0.25. An epoch is counted as one pass
    over CheX's 5,216 training images (522 steps), 8 of them are 4,176.

    Paper: §3, hyper-parameters.
    """
    return RunConfig(
        model=ModelConfig(dropout=0.25),
        streams=StreamConfig(
            classes=10, unlabelled_classes=10, masks=10, balanced=False, augmentation="paper"
        ),
        optim=OptimConfig(
            optimizer="adam",
            learning_rate=1e-4,
            weight_decay=0.0,
            schedule="step",
            decay_every=4176,
            steps=8352,
            ema_decay=0.0,
        ),
    )


def tuned() -> RunConfig:
    """The paper's objective with weights, optimiser, batches and augmentation for few labels.

    Few pseudo-labels that are nearly always right teach more than many that are not: threshold and weight are
    those of FixMatch, arXiv:2001.07685. Masks need a louder voice where both tasks share an encoder.
    """
    return RunConfig(objective=ObjectiveConfig(threshold=0.95, pseudo_weight=1.0, dice_weight=20.0))


def ours() -> RunConfig:
    """The default: MultiMix+, tuned; as styles make masks harder to learn, their voice is louder still.

    Classes come as often as they are labelled: drawn in equal shares, they make answers lean to the rarer one.
    Twice the steps of `tuned`, as validation images prefer for it, and do not for the supervised methods.
    """
    base = tuned()
    return replace(
        base,
        method="multimix-plus",
        objective=replace(base.objective, dice_weight=50.0),
        streams=replace(base.streams, balanced=False),
        optim=replace(base.optim, steps=1000),
    )


RECIPES = {"ours": ours, "tuned": tuned, "paper": paper}


def recipe(name: str) -> RunConfig:
    """The recipe called `name`; UsageError where there is none."""
    if name not in RECIPES:
        raise UsageError(f"Unknown --recipe {name!r}. Choose one of: {', '.join(RECIPES)}.")
    return RECIPES[name]()
