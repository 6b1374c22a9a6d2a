"""Checks of what was learned: loss terms, pseudo-labels, the choice of the checkpoint, weights.

A term's gradient is measured, not read from the configuration: the network and the objective are built again, a batch
is drawn as training draws it, and every term is differentiated alone. A term is dead where the gradient is zero for
the best weights and for the initial ones, in several batches; one that has merely nothing left to teach is alive
for the initial weights.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from multimix.errors import CheckpointError
from multimix.evaluation.audit.findings import Finding, Unchecked
from multimix.evaluation.audit.run_folder import RunFolder
from multimix.networks.model import MultiMix
from multimix.training.algorithm import WEIGHTS, Objective, teach, term_weight, total
from multimix.training.batch import LossBreakdown
from multimix.training.prepare import validation_set
from multimix.training.seeds import derive, generator
from multimix.training.validation import validate
from multimix.weights.file import BEST, LAST, read_tensors

BATCHES = 3
"""Batches in which a term may show a gradient."""
PER_BATCH = 8
"""Images of each stream in them, at most."""
DEAD = 1e-12
"""Norm of a weighted gradient up to which it is zero; a live one is above 1e-6."""
NONE_KEPT, ALL_KEPT = 0.01, 0.99
"""Mean share of pseudo-labels over the run that counts as none, and as all."""
ALL_KEPT_AT_FIRST = 0.95
"""Every pseudo-label is kept late in a good run; a threshold that never chose has it so from the first line on."""
SAME_SCORE = 0.02
"""Largest difference between a validation score in the log and the same score computed now."""
VALIDATION_PIXELS = 2000 * 128 * 128
"""Validation images are scored again up to this many pixels, which take some ten seconds on one core."""


def weights_not_finite(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Weights that are NaN or infinite, in the best and the last checkpoint."""
    files = [material.run / name for name in (BEST, LAST) if (material.run / name).is_file()]
    if not files:
        raise CheckpointError(f"{material.run}: holds no weights.")
    for file in files:
        tensors, _ = read_tensors(file)
        broken = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
        if broken:
            yield Finding(
                "weights-not-finite",
                "wrong",
                file.name,
                "Some weights are NaN or infinite, so every answer of this network is meaningless.",
                "Use an earlier checkpoint, or train again with a lower learning rate or in 32-true.",
                {"tensors": len(broken), "of": len(tensors), "first": broken[0]},
            )


def zero_gradient(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Terms of the method that no weight feels."""
    expected = material.method.terms
    streams, model = material.streams(PER_BATCH), material.loaded.model
    has = set(streams.samplers)
    unlabelled = {"unlabelled_classes", "unlabelled_masks"}
    pseudo = bool(has & unlabelled) if material.method.teacher else "unlabelled_classes" in has
    present = {
        "classification": "labelled_classes" in has,
        "pseudo_label": pseudo,
        "dice": "labelled_masks" in has,
        "consistency": {"labelled_masks", "unlabelled_masks"} <= has,
        "pseudo_mask": bool(has & unlabelled),
        "location": "labelled_masks" in has,
    }
    wanted = [name for name in expected if present[name]]
    norms, kept = _largest_gradients(material, model, wanted)
    dead = [name for name in wanted if norms[name] <= DEAD]
    if dead:  # finished, or never alive? A fresh network tells.
        fresh, fresh_kept = _largest_gradients(material, _initial(material), dead)
        kept = {name: max(share, fresh_kept[name]) for name, share in kept.items()}
        dead = [name for name in dead if fresh[name] <= DEAD]
    for name in expected:
        if not present[name]:
            reason = f"the run has no images for its term {name!r}, so there is nothing to differentiate."
            yield Unchecked("zero-gradient", reason)
        elif name in dead and kept.get(name) == 0 and term_weight(material.config.objective, name):
            reason = f"no pseudo-label of {name!r} was confident in the batches drawn, so its gradient is not known."
            yield Unchecked("zero-gradient", reason)
        elif name in dead:
            yield _dead_term(material, name, norms)


def _initial(material: RunFolder) -> MultiMix:
    """The network before its first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(material.config.seed, "initial weights"))
        return MultiMix.from_spec(material.loaded.spec)


def _largest_gradients(
    material: RunFolder, model: MultiMix, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Per term the largest norm of its weighted gradient over a few batches; the largest shares kept.

    Later batches are drawn only where a term was silent in the earlier ones.
    """
    config, streams = material.config, material.streams(PER_BATCH)
    objective = Objective(model, config.objective, multi_label=config.data.multi_label)
    parameters = list(model.parameters())
    flags = [p.requires_grad for p in parameters]
    norms, kept = dict.fromkeys(names, 0.0), {"pseudo_label": 0.0, "pseudo_mask": 0.0}
    model.requires_grad_(True)
    try:
        for step in range(BATCHES):
            if step and all(norm > DEAD for norm in norms.values()):
                break
            batch = teach(
                model,
                streams.batch(step),
                config.objective,
                classify=material.method.classify,
                segment=material.method.mask_teacher,
                multi_label=config.data.multi_label,
            )
            terms = objective(batch, generator(config.seed, "dropout", step))
            for name, share in (("pseudo_label", terms.kept), ("pseudo_mask", terms.kept_pixels)):
                kept[name] = max(kept[name], 0.0 if share is None else float(share))
            for name in names:
                alone = total(LossBreakdown(**{name: getattr(terms, name)}), config.objective)
                norms[name] = max(norms[name], _norm(alone, parameters))
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
    return norms, kept


def _norm(loss: Tensor, parameters: Sequence[Tensor]) -> float:
    if not loss.requires_grad:  # cut off from the weights altogether
        return 0.0
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    squares = [float(gradient.double().square().sum()) for gradient in gradients if gradient is not None]
    return math.sqrt(sum(squares))


def _dead_term(material: RunFolder, name: str, norms: dict[str, float]) -> Finding:
    objective = material.config.objective
    weight = term_weight(objective, name)
    advice = (
        "Find out what cuts it off from the weights (a detach, a softmax over one channel), and train again."
    )
    if weight == 0:
        advice = f"Set objective.{WEIGHTS[name]} above 0 and train again, or name a method without this term."
    elif name == "consistency" and objective.consistency == "released":
        advice = (
            "The released KL is a softmax over one channel. Train again with objective.consistency=bernoulli, or call "
            "the method by a name without this term."
        )
    others = {f"gradient of {other}": norm for other, norm in norms.items() if other != name}
    return Finding(
        "zero-gradient",
        "wrong",
        name,
        f"The gradient of the term {name!r} is zero for trained and for fresh weights: it has taught the network "
        "nothing, and what is claimed for it does not hold.",
        advice,
        {f"gradient of {name}": norms[name], "weight": weight, **others},
    )


def _kept(material: RunFolder) -> list[float]:
    if not (material.method.classify and material.method.pseudo_labels):
        return []
    return [value for _, value in material.logged("kept")]


def pseudo_labels_none(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """A confidence threshold that nothing passes."""
    kept = _kept(material)
    if not kept:
        yield from _no_pseudo_labels(material, "pseudo-labels-none")
    elif sum(kept) / len(kept) < NONE_KEPT:
        yield Finding(
            "pseudo-labels-none",
            "wrong",
            "pseudo_label",
            "Hardly any unlabelled image was ever confident enough, so the run learned from labelled classes alone.",
            "Lower objective.threshold, train longer, or report the run as the method without pseudo-labels.",
            {"mean kept": sum(kept) / len(kept), "highest": max(kept), "lines": len(kept)}
            | {"threshold": material.config.objective.threshold},
        )


def pseudo_labels_all(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """A confidence threshold that everything passes, from the beginning on."""
    kept = _kept(material)
    if not kept:
        yield from _no_pseudo_labels(material, "pseudo-labels-all")
    elif sum(kept) / len(kept) >= ALL_KEPT and kept[0] >= ALL_KEPT_AT_FIRST:
        yield Finding(
            "pseudo-labels-all",
            "wrong",
            "pseudo_label",
            "Every pseudo-label was kept from the first steps on: the threshold chooses nothing, and the network is "
            "taught its own mistakes.",
            "Raise objective.threshold above what an untrained network answers (1 / number of classes), and train "
            "again.",
            {"mean kept": sum(kept) / len(kept), "first": kept[0], "lines": len(kept)}
            | {"threshold": material.config.objective.threshold},
        )


def _no_pseudo_labels(material: RunFolder, fault: str) -> Iterator[Unchecked]:
    if material.method.classify and material.method.pseudo_labels:
        yield Unchecked(fault, "the log has no 'kept': the run had no unlabelled class images.")


def best_is_first(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """A best checkpoint that was not chosen: validation never ran, or never improved."""
    scores = material.logged("score")
    last = max(int(line.get("step", 0)) for line in material.log)
    if not scores:
        yield Finding(
            "best-is-first",
            "wrong",
            "validation",
            "Validation never ran, so the best checkpoint was not chosen: it is whatever was saved.",
            "Give some images of the training sources the split val, and train again.",
            {"validations": 0, "steps": last},
        )
        return
    step, best = max(scores, key=lambda pair: pair[1])  # the first of several that are equal
    if len(scores) == 1 and step == last:
        reason = f"validation ran once, after step {step}: there was nothing to choose. Lower validate_every."
        yield Unchecked("best-is-first", reason)
    elif step == scores[0][0] and (best < 1 or len(scores) == 1):  # a perfect score leaves nothing to improve
        yield Finding(
            "best-is-first",
            "wrong",
            "validation",
            "The best checkpoint is that of the first validation: training after it changed nothing for the better, or "
            "validation does not see the network.",
            "Look at the scores in log.jsonl. Equal ones mean that validation is broken, falling ones that the "
            "learning rate is too high.",
            {
                "best step": step,
                "steps": last,
                "best": best,
                "last": scores[-1][1],
                "validations": len(scores),
            },
        )


def best_not_best(material: RunFolder) -> Iterator[Finding | Unchecked]:
    """Best weights that do not score on the validation images what the log says."""
    scores = material.logged("score")
    if not scores:
        raise CheckpointError("validation never ran, so there is no score to compare with.")
    sets, images = material.sets, material.images
    size = material.config.data.size
    count = len(sets.val_classes) + len(sets.val_masks)
    if not count:
        raise CheckpointError("split.csv has no validation images that the manifest knows.")
    if count * size * size > VALIDATION_PIXELS:
        raise CheckpointError(f"{count} validation images of {size} x {size} are too many to score again.")
    validation = validation_set(sets, images, material.masks, material.config.data.multi_label)
    now = validate(material.loaded.model, validation, torch.device("cpu"))["score"]
    step, best = max(scores, key=lambda pair: pair[1])
    if not abs(now - best) <= SAME_SCORE:
        yield Finding(
            "best-not-best",
            "wrong",
            BEST,
            "The best weights do not have the validation score that the log gives for them: they are of another step "
            "or run, or validation was done otherwise.",
            f"Train again, or restore the {BEST} of step {step}; evaluate anew.",
            {"score in log": best, "score now": now, "step": step, "images": count},
        )
