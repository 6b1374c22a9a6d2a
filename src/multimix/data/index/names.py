"""What people call the folders and files of a data set: words for splits, images, masks and images without label.

Names are compared by their words, whatever the case and the sign between them: 'imagesTr', 'train_images' and
'Training Images' all say images of train.
"""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from multimix.data.columns import LUNGS, SPLIT_WORDS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHORT_SPLITS = {"tr": "train", "ts": "test"}
"""nnU-Net's imagesTr and labelsTs; a split only beside a word for images or masks."""

IMAGE_WORDS = _words("image images img imgs jpegimages pngimages")
"""A folder of this name holds images, whatever lies beside it."""
IMAGE_WORDS_BESIDE = _words("input inputs original originals picture pictures photo photos scan scans raw")
"""A folder of this name holds the images where masks lie beside it; elsewhere it is a name like any other."""
MASK_WORDS = _words(
    "mask masks maskes groundtruth groundtruths labelmap labelmaps segmentationclass "
    "segmentationmask segmentationmasks"
)
"""A folder of this name holds masks, whatever lies beside it."""
MASK_WORDS_BESIDE = _words(
    "label labels segmentation segmentations seg segs annotation annotations annot gt gts truth manual"
)
"""A folder of this name holds masks where images lie beside it; elsewhere it is a name like any other."""
_INSTANCES = _words("object objects instance instances")
"""Pascal VOC's SegmentationObject: one colour per object, of any structure."""

_FILLERS = _words(
    "data dataset datasets set folder folders file files the all and of in png jpg jpeg tif "
    "tiff bmp dcm dicom dicoms class classes x ray xray xrays cxr"
)
"""Words that say nothing about what a folder holds, beside a word that does."""
CONTAINERS = _words("data dataset datasets files file png jpg jpeg tif tiff bmp dcm dicom dicoms")
"""A folder of this name alone is neither a class nor a data set."""
LABELLED = _words("labeled labelled annotated data dataset set images")
"""Nor is one of this name beside one of images without label."""

_UNLABELLED = re.compile(
    r"(un|not_?|non?_?|without_?)(label+ed|labels?|annotated|annotations?|sup|supervised)(_(data|images?|set))?"
)
_FOLD = re.compile(r"(cv_)?(fold|split|part|partition)_?\d+")
_STUDY = re.compile(r"(study|series|visit|session|ses|exam|accession|acc|s|st|se)[_ -]?\d+|\d+(\.\d+){3,}")
_ROLE_ENDING = re.compile(
    r"[ _.-]?(masks?|seg|segmentations?|labels?|labelmap|gt|ground ?_?truth|annotations?|annot|manual)([ _-]?\d+)?$",
    re.IGNORECASE,
)
"""What stands after the stem of an image in the name of its mask; a number tells several masks of it apart."""
_ROLE_BEGINNING = re.compile(r"^(masks?|seg|segmentation|labels?|gt|annotation)[ _-]?(?=\w)", re.IGNORECASE)
_IMAGE_ROLE = re.compile(
    r"^(images?|img|input)[ _-]?(?=\w)|[ _-](images?|img|input|raw|0000)$", re.IGNORECASE
)


def words(name: str) -> list[str]:
    """Lower-case words and numbers of a name: 'JPEGImages' -> jpeg, images; 'lung_masks 2' -> lung, masks, 2."""
    return [word.lower() for word in pieces(name)]


def pieces(name: str) -> list[str]:
    """The same in the case that they are written in."""
    return re.findall(
        r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+", unicodedata.normalize("NFKC", name)
    )


def plain(name: str) -> str:
    """A name in lower case, with '_' for what stands between its words: 'Not Labelled' -> 'not_labelled'."""
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFKC", name)).strip("_").lower()


def is_unlabelled(name: str) -> bool:
    """Whether a folder says that its images have no label: unlabelled, unsup, no_label ..."""
    return bool(_UNLABELLED.fullmatch(plain(name)))


def is_fold(name: str) -> bool:
    """Whether a folder is one of the folds of a cross-validation, which is neither class nor data set."""
    return bool(_FOLD.fullmatch(plain(name)))


def is_study(name: str) -> bool:
    """Whether a folder looks like a study or series of a patient."""
    return bool(_STUDY.fullmatch(name.lower()))


@dataclass(frozen=True)
class Meaning:
    """What the words of a folder's name say."""

    split: str | None
    image: bool
    """It holds images, whatever lies beside it."""
    image_beside: bool
    """It holds images if masks lie beside it."""
    mask: bool
    """It holds masks, whatever lies beside it."""
    mask_beside: bool
    """It holds masks if images lie beside it."""
    instances: bool
    rest: str
    """The words that say none of this: a structure, a class, a decoration; '' where there are none."""


def meaning(name: str) -> Meaning:
    """What a folder's name says about the files in it."""
    written = pieces(re.sub("ground[ _-]?truth", "Groundtruth", name, flags=re.IGNORECASE))
    parts = [word.lower() for word in written]
    image, image_beside, mask, mask_beside, instances = (
        any(w in known for w in parts)
        for known in (IMAGE_WORDS, IMAGE_WORDS_BESIDE, MASK_WORDS, MASK_WORDS_BESIDE, _INSTANCES)
    )
    role = image or image_beside or mask or mask_beside
    splits = SPLIT_WORDS | (_SHORT_SPLITS if role else {})
    split = next((splits[w] for w in parts if w in splits), None)
    known = {
        *IMAGE_WORDS,
        *IMAGE_WORDS_BESIDE,
        *MASK_WORDS,
        *MASK_WORDS_BESIDE,
        *splits,
        *_INSTANCES,
        *_FILLERS,
    }
    said = bool(role or split)
    rest = [w for w in written if not (said and (w.lower() in known or w.isdigit()))]
    return Meaning(split, image, image_beside, mask, mask_beside, instances, " ".join(rest))


def structure(text: str) -> str:
    """The structure that a folder, suffix or label is called after: 'lung' and 'Lungs' are the plain one."""
    name = " ".join(text.replace("_", " ").split())
    return LUNGS if not name or name.lower() in ("lung", "lungs") else name


def mask_stem(stem: str) -> str:
    """The stem of the image that a mask's stem names: 'x_mask_1', 'x-seg' and 'mask_x' -> 'x'."""
    shorter = _ROLE_ENDING.sub("", stem) or stem
    return shorter if shorter != stem else _ROLE_BEGINNING.sub("", stem) or stem


def image_stem(stem: str) -> str:
    """The stem of an image without what says that it is one: nnU-Net's 'x_0000', 'img_x' -> 'x'."""
    return _IMAGE_ROLE.sub("", stem) or stem


_ROBOFLOW = re.compile(r"[_-](?:jpe?g|png|tiff?|bmp|dcm)\.rf\.\w+$", re.IGNORECASE)
"""What Roboflow puts after the name of an image, another ending for each augmented copy."""
_COPY = re.compile(
    r"(?:[ _.-]*(?:copy|copie|kopie|aug(?:mented)?|[hv]?flip(?:ped)?|mirror(?:ed)?|rot(?:ated)?|rotate|crop(?:ped)?|"
    r"noise|noisy|bright(?:ness)?|contrast|blur(?:red)?)[ _.-]*\d*|[ _-]*\(\d+\))$",
    re.IGNORECASE,
)
"""What people and programs put after the name of an image that they copy, turn or vary."""


def origin(stem: str, others: Collection[str]) -> str:
    """The stem of the image that a file is a copy of, told by its name and the stems in its folder; else its own."""
    if (plainer := _ROBOFLOW.sub("", stem)) != stem:
        return plainer
    shorter = _COPY.sub("", stem)
    return shorter if shorter in others else stem


def same(stem: str) -> str:
    """A stem in the form in which two are compared: one Unicode form for all."""
    return unicodedata.normalize("NFC", stem)


def is_counter(stem: str) -> bool:
    """Whether a stem is a bare number, as every folder of numbered images has: '1', 'img_001', 'image (3)'."""
    return not [w for w in words(stem) if not w.isdigit() and w not in IMAGE_WORDS]


def counters(stems: Collection[str]) -> bool:
    """Whether all stems are bare numbers."""
    return all(map(is_counter, stems))
