import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label as components
from scipy.stats import rankdata

from multimix.data.manifest import read_manifest
from multimix.data.phantom import ADULT, CHILD, DOMAINS, generate, write_dataset
from multimix.errors import MultimixError, UsageError

both = pytest.mark.parametrize("domain", [ADULT, CHILD], ids=lambda d: d.name)


def test_same_arguments_give_the_same_pixels_and_others_do_not():
    first, again, other = (generate(20, 32, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.masks, again.masks)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.images, other.images)
    # No image is made twice, within a batch or across batches.
    assert len(np.unique(first.images.reshape(20, -1), axis=0)) == 20


def test_a_full_batch_of_patients_is_the_same_in_a_larger_set():
    assert np.array_equal(generate(16, 32, prevalence=0.0).masks, generate(40, 32, prevalence=0.0).masks[:16])


@pytest.mark.parametrize(
    ("count", "prevalence", "sick"), [(10, 0.5, 5), (10, 0.3, 3), (7, 0.0, 0), (7, 1.0, 7)]
)
def test_prevalence_is_exact(count, prevalence, sick):
    assert generate(count, 32, prevalence=prevalence).labels.sum() == sick


@both
def test_pneumonia_changes_lung_pixels_and_nothing_else(domain):
    well, sick = (generate(48, 64, seed=3, domain=domain, prevalence=p) for p in (0.0, 1.0))
    assert np.array_equal(well.masks, sick.masks)
    assert np.array_equal(well.images[~well.masks], sick.images[~well.masks])
    change = sick.images.astype(int) - well.images
    assert change.min() >= 0, "an opacity never darkens"
    # Every opacity is above the noise (5 to 7 grey values), and they are of many densities and sizes.
    peaks, areas = change.max((1, 2)), (change > 8).sum((1, 2)) / well.masks.sum((1, 2))
    assert peaks.min() > 15
    assert peaks.max() > 2 * peaks.min()
    assert areas.min() < 0.15
    assert areas.max() > 0.5


@both
def test_lungs_are_two_dark_and_plausible_in_size(domain):
    phantoms = generate(48, 128, seed=4, domain=domain, prevalence=0.0)
    for image, mask in zip(phantoms.images, phantoms.masks, strict=True):
        regions, _ = components(mask, structure=np.ones((3, 3)))
        areas = np.sort(np.bincount(regions.ravel())[1:])[::-1]
        assert len(areas) >= 2
        assert areas[0] < 3.5 * areas[1]
        assert areas[2:].sum() < 0.01 * areas.sum()  # a costophrenic tip may be cut off
        assert image[mask].mean() < image[~mask].mean()
        # The middle column is mediastinum: no lung.
        assert mask[:, 56:72].mean() < 0.15
    share = phantoms.masks.mean((1, 2))
    assert 0.15 < share.min() < 0.25
    assert 0.3 < share.max() < 0.45


def test_the_domains_look_different():
    adult, child = (generate(64, 64, seed=5, domain=d, prevalence=0.0) for d in (ADULT, CHILD))
    assert child.images.std((1, 2)).mean() < 0.9 * adult.images.std((1, 2)).mean()
    heart = [(~p.masks[:, 40:44]).mean() for p in (adult, child)]
    assert heart[1] > heart[0]
    assert set(DOMAINS) == {"hospital_a", "hospital_b"}


def thumbnails(images):
    """24 x 24 box averages in [0, 1], with a constant column."""
    small = [
        np.asarray(Image.fromarray(i).resize((24, 24), Image.Resampling.BOX)).ravel() / 255 for i in images
    ]
    return np.column_stack([np.stack(small), np.ones(len(images))])


def auc(labels, scores):
    ranks, positives = rankdata(scores), labels.sum()
    wins = ranks[labels == 1].sum() - positives * (positives + 1) / 2
    return wins / (positives * (len(labels) - positives))


@both
def test_a_thumbnail_does_not_solve_the_task(domain):
    train, test = (generate(n, 64, seed=s, domain=domain) for n, s in ((400, 6), (300, 7)))
    x, z = thumbnails(train.images), thumbnails(test.images)
    gram, target = x @ x.T, 2.0 * train.labels - 1
    # Ridge regression in its dual form; the strength is picked on the test images, in the thumbnail's favour.
    strengths = (0.3, 3, 10, 30, 100)
    aucs = [auc(test.labels, z @ x.T @ np.linalg.solve(gram + s * np.eye(400), target)) for s in strengths]
    assert max(aucs) < 0.85
    # Nor is the label hidden: there is something to see even in a thumbnail.
    assert max(aucs) > 0.6


@pytest.mark.parametrize(
    "arguments",
    [{"count": 0}, {"count": 1, "size": 16}, {"count": 1, "seed": -1}, {"count": 1, "prevalence": 1.5}],
    ids=str,
)
def test_arguments_out_of_range(arguments):
    with pytest.raises(UsageError, match="change the one out of range"):
        generate(**arguments)


def test_dataset_reads_back_as_it_was_written(tmp_path):
    manifest = write_dataset(tmp_path / "set", seed=1, size=32, train=6, val=4, test=3, other=5)
    assert manifest == tmp_path / "set" / "manifest.csv"
    records = read_manifest(manifest)
    found = [(r.source, r.split) for r in records]
    assert found == (
        [("phantom_a", "train")] * 6
        + [("phantom_a", "val")] * 4
        + [("phantom_a", "test")] * 3
        + [("phantom_b", "test")] * 5
    )
    assert len({(r.source, r.patient) for r in records}) == 18
    expected = generate(6, 32, seed=4)  # the first of four parts of seed 1
    for record, image, mask, label in zip(
        records[:6], expected.images, expected.masks, expected.labels, strict=True
    ):
        assert np.array_equal(np.asarray(Image.open(record.image)), image)
        assert np.array_equal(np.asarray(Image.open(record.masks["lungs"][0])), mask * 255)
        assert record.label == ("NORMAL", "PNEUMONIA")[label]


def test_dataset_is_deterministic_and_its_images_are_all_different(tmp_path):
    counts = {"size": 32, "train": 5, "val": 5, "test": 5, "other": 0}
    files = [
        {
            p.name: p.read_bytes()
            for p in write_dataset(tmp_path / name, **counts).parent.rglob("*/images/*.png")
        }
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert len(set(files[0].values())) == 15


def test_dataset_in_a_place_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MultimixError, match=r"file: cannot be written to .*choose another folder"):
        write_dataset(tmp_path / "file", size=32, train=1, val=0, test=0, other=0)


@both
def test_findings_are_where_pneumonia_changed_the_image(domain):
    well, sick = (generate(32, 64, seed=3, domain=domain, prevalence=p) for p in (0.0, 1.0))
    assert not well.findings.any()
    assert sick.findings.any((1, 2)).all()
    assert not sick.findings[~sick.masks].any()  # opacities lie in the lungs
    change = sick.images.astype(int) - well.images
    # Most of what can be seen is inside, and what is inside can be seen.
    seen = change > 20
    assert (seen & sick.findings).sum() / seen.sum() > 0.99
    assert change[sick.findings].mean() > 10 * change[~sick.findings].mean()


def test_dataset_with_findings_is_the_same_but_for_them(tmp_path):
    counts = {"size": 32, "train": 6, "val": 2, "test": 2, "other": 2}
    plain, told = (
        write_dataset(tmp_path / name, findings=name == "told", **counts) for name in ("plain", "told")
    )
    assert "finding" not in plain.read_text()
    files = {p.relative_to(plain.parent): p.read_bytes() for p in plain.parent.rglob("*.png")}
    others = {p.relative_to(told.parent): p.read_bytes() for p in told.parent.rglob("*.png")}
    assert {k: v for k, v in others.items() if "findings" not in k.parts} == files
    records = read_manifest(told)
    assert {r.label for r in records if "finding" in r.masks} == {"PNEUMONIA"}
    assert {r.label for r in records if "finding" not in r.masks} == {"NORMAL"}
    part = generate(6, 32, seed=0)
    for record, finding in zip(records[:6], part.findings, strict=True):
        if finding.any():
            assert np.array_equal(np.asarray(Image.open(record.masks["finding"][0])), finding * 255)
    assert len([k for k in others if "findings" in k.parts]) == sum("finding" in r.masks for r in records)
