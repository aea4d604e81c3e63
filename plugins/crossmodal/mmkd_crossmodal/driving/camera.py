"""The camera: what each pixel's rays hit, painted, lit by one sun, dimmed by haze, blurred and noisy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkd_crossmodal.driving.layout import Kind, Scene
from mmkd_crossmodal.driving.rays import GROUND, SKY, Hits, Parts, Rays, cast, silhouette

Array = NDArray[Any]

SAMPLES = 2  # rays per pixel and axis
NIGHT = 0.12  # of a day's light


@dataclass(frozen=True)
class Light:
    """A drive's light.

    Arguments:
        sun: unit vector to the sun; y is down.
        ambient: share of light that comes from everywhere.
        haze: metres over which about two thirds of the contrast is lost.
        sky: colour of the sky and of the haze, `[3]`.
        exposure: factor of all light.
    """

    sun: Array
    ambient: float
    haze: float
    sky: Array
    exposure: float


def draw_light(random: np.random.Generator, night: bool) -> Light:
    azimuth, height = random.uniform(0, 2 * np.pi), random.uniform(0.4, 1.2)
    sun = np.array([np.cos(height) * np.cos(azimuth), -np.sin(height), np.cos(height) * np.sin(azimuth)])
    sky = random.uniform(0.6, 0.95) * np.array([0.92, 0.97, 1.0])
    exposure = random.uniform(0.7, 1.2) * (NIGHT if night else 1.0)
    return Light(sun, random.uniform(0.35, 0.8), random.uniform(60, 250), sky, exposure)


def pixel_rays(p2: Array, height: int, width: int) -> Rays:
    """`SAMPLES` squared rays per pixel, through the point that `p2` projects from; directions have z = 1."""
    inverse = np.linalg.inv(p2[:, :3])
    origin = -inverse @ p2[:, 3]
    rows = (np.arange(height * SAMPLES) + 0.5) / SAMPLES
    columns = (np.arange(width * SAMPLES) + 0.5) / SAMPLES
    pixels = np.stack([*np.meshgrid(columns, rows), np.ones((len(rows), len(columns)))], -1)
    directions = pixels @ inverse.T

    def locate(points: Array) -> tuple[Array, Array, Array]:
        image = points @ p2[:, :3].T + p2[:, 3]
        depth = np.maximum(image[:, 2], 1e-3)
        return SAMPLES * image[:, 1] / depth, SAMPLES * image[:, 0] / depth, image[:, 2] > 0.1

    return Rays(origin, directions / directions[..., 2:], locate)


def render(
    scene: Scene, parts: Parts, rays: Rays, light: Light, random: np.random.Generator
) -> tuple[Array, Array, Hits]:
    """One picture.

    Returns:
        The image `[H, W, 3]`, uint8; the true depth of each pixel in metres `[H, W]`, 0 for the sky; and the hits.
    """
    hits = cast(rays, parts, scene.ground)
    places = rays.origin + np.where(np.isfinite(hits.distance), hits.distance, 0)[..., None] * rays.directions
    colour = np.empty((*hits.part.shape, 3))
    colour[:] = light.sky
    on_ground, on_part = hits.part == GROUND, hits.part >= 0
    colour[on_ground] = _ground(scene, places[on_ground], light)
    colour[on_part] = _paint(scene, parts, hits, on_part) * _lit(parts, hits, on_part, light)[:, None]
    clear = np.exp(-np.where(np.isfinite(hits.distance), hits.distance, 1e3) / light.haze)[..., None]
    colour = light.exposure * (colour * clear + light.sky * (1 - clear))
    pixels = _per_pixel(colour).mean((1, 3))
    blurred = _blurred(pixels, random.uniform(0.0, 0.25))
    noisy = blurred + random.normal(0, 1, blurred.shape) * (0.008 + 0.02 * np.sqrt(np.maximum(blurred, 0)))
    image = np.clip(np.round(255 * np.clip(noisy, 0, 1) ** (1 / 2.2)), 0, 255).astype(np.uint8)
    nearest = _per_pixel(hits.distance[..., None])[..., 0].min((1, 3))
    return image, np.where(np.isfinite(nearest) & (nearest < 200), nearest, 0), hits


def _per_pixel(values: Array) -> Array:
    rows, columns, channels = values.shape
    return values.reshape(rows // SAMPLES, SAMPLES, columns // SAMPLES, SAMPLES, channels)


def _ground(scene: Scene, places: Array, light: Light) -> Array:
    """Asphalt with patches, dashed markings and the shadows of cars."""
    x, z = places[:, 0], places[:, 2] + scene.travelled
    patches = 0.02 * (np.sin(0.9 * x + 0.35 * z) + np.sin(2.3 * x - 0.8 * z) + np.sin(0.5 * z))
    shade = 0.22 + patches
    dashes = (np.abs(x + 1.7) < 0.08) & ((z % 9) < 4)
    verge = np.abs(x + 1.7) > 9
    colour = np.where(dashes, 0.75, shade)[:, None] * np.where(verge[:, None], [0.75, 1.1, 0.6], 1.0)
    return colour * np.where(_in_shadow(scene, places, light), light.ambient, 1.0)[:, None]


def _in_shadow(scene: Scene, places: Array, light: Light) -> Array:
    """Whether a car stands between the ground and the sun, its shadow taken as the footprint moved away from it."""
    shadow = np.zeros(len(places), bool)
    for x, _, z, height, width, length, yaw in scene.boxes[scene.kind == Kind.CAR]:
        shift = -light.sun[[0, 2]] / max(-light.sun[1], 0.3) * height / 2
        apart = places[:, [0, 2]] - [x + shift[0], z + shift[1]]
        near = np.flatnonzero(np.abs(apart).max(1) < length)
        along = apart[near] @ [np.cos(yaw), -np.sin(yaw)]
        across = apart[near] @ [np.sin(yaw), np.cos(yaw)]
        grown = np.abs(shift).max() / 2
        shadow[near] |= (np.abs(along) < length / 2 + grown) & (np.abs(across) < width / 2 + grown)
    return shadow


def _paint(scene: Scene, parts: Parts, hits: Hits, where: Array) -> Array:
    """Base colours of the parts that are hit: wheels, windows and lamps make a car's side and heading visible."""
    part, (along, down, across), face = hits.part[where], hits.local[where].T, hits.face[where]
    owner = parts.owner[part]
    colour, kind = scene.colour[owner].copy(), scene.kind[owner]
    cabin = parts.cabin[part]
    body = (kind == Kind.CAR) & ~cabin
    side = face == 2
    wheels = body & side & (down > 0.15) & (np.abs(np.abs(along) - 0.62) < 0.17)
    windows = cabin & (face != 1) & (down > -0.75) & (np.abs(np.where(side, along, across)) < 0.9)
    ends = body & (face == 0) & (np.abs(across) > 0.55) & (np.abs(down + 0.3) < 0.3)
    colour[wheels] = 0.05
    colour[windows] = 0.12
    colour[ends & (along > 0)] = 0.95
    colour[ends & (along < 0)] = [0.6, 0.05, 0.05]
    poster = kind == Kind.POSTER  # a flat picture of a car's side
    colour[poster & (down > 0.35) & (np.abs(np.abs(along) - 0.62) < 0.17)] = 0.05
    colour[poster & (down < -0.1) & (down > -0.8) & (np.abs(along + 0.07) < 0.5)] = 0.12
    colour[poster & (down < -0.1) & (np.abs(along + 0.07) > 0.58)] = 0.5
    return colour


def _lit(parts: Parts, hits: Hits, where: Array, light: Light) -> Array:
    """Light on a face: what comes from everywhere, and the sun by the cosine of its angle."""
    part, face = hits.part[where], hits.face[where]
    sign = np.sign(np.take_along_axis(hits.local[where], face[:, None], 1))[:, 0]
    yaw = parts.yaw[part]
    along = np.stack([np.cos(yaw), 0 * yaw, -np.sin(yaw)], 1)
    across = np.stack([np.sin(yaw), 0 * yaw, np.cos(yaw)], 1)
    normal = np.where((face == 0)[:, None], along, np.where((face == 1)[:, None], [0.0, 1.0, 0.0], across))
    facing = np.maximum(sign * (normal @ light.sun), 0)
    return light.ambient + (1 - light.ambient) * 1.3 * facing


def _blurred(image: Array, share: float) -> Array:
    """Each pixel shares with its four neighbours."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), "edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return (1 - share) * image + share * around / 4


def visible_shares(scene: Scene, parts: Parts, rays: Rays, hits: Hits) -> tuple[Array, Array]:
    """Of each car: the share of its rays that it is the first hit of, and their number; both `[cars]`."""
    owners = np.append(parts.owner, SKY)[np.where(hits.part >= 0, hits.part, -1)]
    shares, counts = [], []
    for number in np.flatnonzero(scene.kind == Kind.CAR).tolist():
        seen = int((owners == number).sum())
        shares.append(seen / max(silhouette(rays, parts.of(number)), 1))
        counts.append(seen)
    return np.array(shares), np.array(counts)
