"""A phantom of a head with a glioma: tissues first, then what each sequence shows of them.

Deliberately coarse: ellipsoids, smooth noise and tables of contrast. What it has to get right is who sees what. Oedema
is bright in FLAIR and T2 and a little darker than healthy tissue in T1ce; the rim is brightest in T1ce, and so are
vessels; grey and white matter, bias field, noise and each patient's own contrasts hide all of it in part.

Sizes and contrasts were set to the figures of real patients (share of the brain, and distance from the rest of it in
standard deviations of a sequence), six of BraTS 2015 and four of BraTS 2021, before anything was learnt from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from mmkd_medical.terms import SEQUENCES

SHAPE = (48, 48, 12)  # voxels right, front and up
SPACING = (4.0, 4.0, 8.0)  # mm

AIR, CSF, GREY, WHITE, OEDEMA, CORE, RIM, VESSEL = range(8)
# Mean intensity of each tissue, white matter of T1 being 0.75.
_CONTRAST = {
    #          air  csf   grey  white oedema core  rim   vessel
    "flair": (0.0, 0.20, 0.62, 0.50, 1.00, 0.85, 0.85, 0.40),
    "t1": (0.0, 0.25, 0.55, 0.75, 0.60, 0.40, 0.58, 0.50),
    "t1ce": (0.0, 0.25, 0.58, 0.75, 0.56, 0.40, 1.15, 1.15),
    "t2": (0.0, 1.00, 0.65, 0.45, 0.85, 0.85, 0.70, 0.40),
}
_CLASS = np.array([0, 0, 0, 0, 2, 1, 3, 0], np.uint8)  # class of the label by tissue, see `terms.CLASSES`


@dataclass(frozen=True)
class Knobs:
    """How hard it is; fixed before anything was distilled on it.

    Arguments:
        contrast: spread (of the logarithm) of a patient's own contrast of each tissue in each sequence.
        bias: largest deviation of the bias field from 1.
        noise: standard deviation, in units of `_CONTRAST`.
        shift: standard deviation of a sequence's displacement from T1ce and the label, in voxels of the slice.
    """

    contrast: float = 0.08
    bias: float = 0.2
    noise: float = 0.08
    shift: float = 0.3


@dataclass(frozen=True)
class Head:
    """One patient.

    Arguments:
        sequences: `[X, Y, Z]` by name; air is exactly 0.
        label: classes of `terms.CLASSES`, `[X, Y, Z]`.
    """

    sequences: dict[str, Float[np.ndarray, "X Y Z"]]
    label: UInt8[np.ndarray, "X Y Z"]


def head(random: np.random.Generator, knobs: Knobs = Knobs(), *, sham: bool = False) -> Head:
    """Draw a patient.

    Arguments:
        sham: FLAIR, T1 and T2 also show a second, healthy region as they show oedema, which the label does not know.
    """
    tissue = _tissues(random)
    shown = dict.fromkeys(SEQUENCES, tissue)
    if sham:
        misleading = tissue.copy()
        misleading[_blob(random, tissue, 7.0) & np.isin(tissue, (GREY, WHITE))] = OEDEMA
        shown = {name: tissue if name == "t1ce" else misleading for name in SEQUENCES}
    return Head({name: _scan(random, shown[name], name, knobs) for name in SEQUENCES}, _CLASS[tissue])


def _tissues(random: np.random.Generator) -> UInt8[np.ndarray, "X Y Z"]:
    """Brain, ventricles, cortex and the lesion in it, one tissue per voxel."""
    x, y, z = _coordinates(random)
    radius = np.sqrt((x / 70) ** 2 + (y / 84) ** 2 + (z / 46) ** 2) + 0.05 * _smooth(random, 3)
    depth = 1 - radius
    tissue = np.full(SHAPE, WHITE, np.uint8)
    tissue[depth + 0.05 * _smooth(random, 1.5) < 0.2] = GREY
    tissue[(np.hypot(np.abs(x) - 24, y + 4) < 11 + 2 * _smooth(random, 2)) & (np.abs(z) < 12)] = GREY
    ventricle = np.sqrt(((np.abs(x) - 11) / 8) ** 2 + ((y - 4) / 28) ** 2 + ((z - 6) / 15) ** 2)
    tissue[ventricle + 0.15 * _smooth(random, 2) < 1] = CSF
    tissue[(depth < 0.12) & (_smooth(random, 1.2) > 0.8)] = CSF
    vessels = (_smooth(random, 0.7) > 2.6) & np.isin(tissue, (GREY, WHITE))
    brain = depth > 0
    lesion = _lesion(random, brain & (depth > 0.25) & (tissue == WHITE))
    tissue[vessels] = VESSEL
    tissue = np.where((lesion > 0) & (tissue != CSF), lesion, tissue)
    tissue[~brain] = AIR
    return tissue.astype(np.uint8)


def _lesion(random: np.random.Generator, seat: np.ndarray) -> np.ndarray:
    """Core, rim around it and oedema around both; 0 elsewhere."""
    centre = random.choice(np.argwhere(seat))
    core, rim, oedema = random.uniform(6, 22), random.uniform(4, 7), random.uniform(4, 18)
    distance = _distance(centre, random.uniform(0.8, 1.25, 3)) + 2.5 * _smooth(random, 1.5)
    wide = _distance(centre, random.uniform(0.7, 1.4, 3)) + 6 * _smooth(random, 2)
    lesion = np.where(wide < core + rim + oedema, OEDEMA, AIR)
    lesion[distance < core + rim] = RIM
    lesion[distance < core] = CORE
    return lesion


def _blob(random: np.random.Generator, tissue: np.ndarray, size: float) -> np.ndarray:
    centre = random.choice(np.argwhere(tissue == WHITE))
    return _distance(centre, np.ones(3)) + 4 * _smooth(random, 2) < 3 * size


def _scan(random: np.random.Generator, tissue: np.ndarray, name: str, knobs: Knobs) -> np.ndarray:
    """One sequence of the tissues."""
    own = np.array(_CONTRAST[name]) * np.exp(knobs.contrast * random.standard_normal(len(_CONTRAST[name])))
    image = ndimage.gaussian_filter(own[tissue], (0.5, 0.5, 0))  # partial volume
    brain = tissue != AIR
    if name != "t1ce":
        offset = (*random.normal(0, knobs.shift, 2), 0.0)
        image = ndimage.shift(image, offset, order=1, mode="nearest")
        brain = ndimage.shift(brain.astype(np.float32), offset, order=1) > 0.5
    image = image * (1 + knobs.bias * _field(random)) + knobs.noise * random.standard_normal(SHAPE)
    scale = random.uniform(200, 800)  # scanners have no unit
    return np.where(brain, scale * np.maximum(image, 0.01), 0).astype(np.float32)


def _coordinates(random: np.random.Generator) -> list[np.ndarray]:
    """Positions in mm in the head's own frame: a little turned, moved and scaled."""
    axes = [spacing * (np.arange(size) - (size - 1) / 2) for spacing, size in zip(SPACING, SHAPE, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    angle = random.normal(0, 0.08)
    x, y = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    return [(axis - random.normal(0, 3)) / random.normal(1, 0.04) for axis in (x, y, z)]


def _distance(centre: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """mm from a voxel, with another scale along each axis."""
    grid = np.indices(SHAPE) - centre[:, None, None, None]
    return np.sqrt(((grid * (np.array(SPACING) * stretch)[:, None, None, None]) ** 2).sum(0))


def _smooth(random: np.random.Generator, sigma: float) -> np.ndarray:
    """Gaussian noise of unit variance, smooth over `sigma` voxels of the slice (and half of it across)."""
    noise = ndimage.gaussian_filter(random.standard_normal(SHAPE), (sigma, sigma, sigma / 2))
    return noise / noise.std()


def _field(random: np.random.Generator) -> np.ndarray:
    """A slow polynomial over the volume within [-1, 1]: what a receive coil does to intensities."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    field = sum(
        weight * term for weight, term in zip(random.normal(size=6), (x, y, z, x * y, x * x, y * y), strict=True)
    )
    return field / np.abs(field).max()
