"""Carriers of tensors: divided, copied, walked through."""

import torch

from multimix.training.batch import LabelledClasses, MultiMixBatch, TwoViews, tensors


def batch() -> MultiMixBatch:
    images = torch.arange(4.0).view(4, 1, 1, 1)
    return MultiMixBatch(
        LabelledClasses(images, torch.tensor([0, 1, 1, 0])), TwoViews(images + 10, images + 20)
    )


def test_parts_hold_equal_shares_of_every_stream_in_order() -> None:
    one, two = batch().split(2)
    assert [t.flatten().tolist() for t in tensors(one)] == [[0, 1], [0, 1], [10, 11], [20, 21]]
    assert [t.flatten().tolist() for t in tensors(two)] == [[2, 3], [1, 0], [12, 13], [22, 23]]
    assert one.labelled_masks is None


def test_a_copy_has_the_values_and_memory_of_its_own() -> None:
    known = batch()
    copy = known.clone()
    for theirs, mine in zip(tensors(known), tensors(copy), strict=True):
        assert torch.equal(theirs, mine)
        assert theirs.data_ptr() != mine.data_ptr()


def test_tensors_of_a_tensor_are_itself() -> None:
    x = torch.zeros(2)
    assert tensors(x)[0] is x
    assert tensors(MultiMixBatch()) == []
