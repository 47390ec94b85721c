"""Shapes and surfaces: how one object or one ground of the embedded scenes is drawn."""

import math

import cv2
import numpy as np

CLASSES = ("disk", "square", "triangle", "star", "cross", "ring", "hexagon", "crescent")


def _circle(
    radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0), *, start=0.0, stop=2 * math.pi
) -> np.ndarray:
    angle = np.linspace(start, stop, 64)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], 1)


def _polygon(corners: int, *, radii: tuple[float, ...] = (1.0,)) -> np.ndarray:
    angle = np.arange(corners) * 2 * math.pi / corners - math.pi / 2
    radius = np.resize(radii, corners)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _crescent() -> np.ndarray:
    """A disk of radius 1 less a disk of radius 0.85 whose centre lies 0.5 to the right."""
    inner, shift = 0.85, 0.5
    x = (1 - inner**2 + shift**2) / (2 * shift)  # where the two circles meet
    outer_angle, inner_angle = math.acos(x), math.acos((x - shift) / inner)
    outside = _circle(start=outer_angle, stop=2 * math.pi - outer_angle)
    inside = _circle(inner, (shift, 0.0), start=2 * math.pi - inner_angle, stop=inner_angle)
    return np.concatenate([outside, inside])


def _cross() -> np.ndarray:
    w = 0.33
    quarter = np.array([[w, w], [w, 1.0], [-w, 1.0]])
    turns = [np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) for a in np.arange(4) * math.pi / 2]
    return np.concatenate([quarter @ turn.T for turn in turns])


GROUND_NOISE = 0.3  # largest standard deviation
LUMA = np.array([0.299, 0.587, 0.114])  # brightness of RGB, ITU-R BT.601

# Outlines inside the unit circle; a second outline cuts a hole.
OUTLINES: dict[str, list[np.ndarray]] = {
    "disk": [_circle(0.9)],
    "square": [_polygon(4)],
    "triangle": [_polygon(3)],
    "star": [_polygon(10, radii=(1.0, 0.42))],
    "cross": [_cross()],
    "ring": [_circle(0.95), _circle(0.52)],
    "hexagon": [_polygon(6)],
    "crescent": [_crescent()],
}


def shape_mask(name: str, *, centre: np.ndarray, radius: float, angle: float, size: int) -> np.ndarray:
    """The pixels of a shape, (size, size) bool; ``centre`` (x, y) and ``radius`` in pixels, ``angle`` in radians."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    fixed_point = 16  # cv2 takes coordinates in 1/16 pixel with shift=4
    outlines = [
        np.round((outline @ turn.T * radius + centre) * fixed_point).astype(np.int32) for outline in OUTLINES[name]
    ]
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, outlines, 1, lineType=cv2.LINE_8, shift=4)
    return mask.astype(bool)


def _pattern(rng: np.random.Generator, name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The surface of a class, True and False: a pattern of its own, of random phase, in the object's coordinates."""
    frequency, (p, q) = 4 * math.pi * rng.uniform(0.9, 1.1), rng.uniform(0, 2 * math.pi, 2)
    x, y = frequency * u, frequency * v
    if name == "disk":  # rings
        return np.sin(1.2 * np.hypot(x, y) + p) > 0
    if name == "square":  # checks
        return np.sin(x + p) * np.sin(y + q) > 0
    if name == "triangle":  # upright stripes
        return np.sin(1.2 * x + p) > 0
    if name == "star":  # rays
        return np.sin(7 * np.arctan2(v, u) + p) > 0
    if name == "cross":  # level stripes
        return np.sin(1.2 * y + p) > 0
    if name == "ring":  # dots
        return np.sin(1.3 * x + p) + np.sin(1.3 * y + q) > 0.9
    if name == "hexagon":  # stripes that lean to one side or to the other
        return np.sin(0.9 * (x + rng.choice([-1, 1]) * y) + p) > 0
    return np.sin(0.5 * y + p) > 0  # broad level bands


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A ground of one colour under grey noise, (size, size, 3) about [0, 1].

    Two views of an image have nothing in common but its objects, and the noise, of any strength, moves the features of
    an untrained network more than the objects do.
    """
    return rng.random(3) + rng.normal(0, rng.uniform(0, GROUND_NOISE), (size, size, 1))


def surface(
    rng: np.random.Generator, name: str, *, centre: np.ndarray, radius: float, angle: float, size: int
) -> np.ndarray:
    """The pattern of a class where an object of it lies, (size, size, 3) in [0, 1], arguments as for `shape_mask`.

    The two colours are random but differ in brightness, so that the pattern can be seen in grey views too.
    """
    first, second = rng.random((2, 3))
    while abs((first - second) @ LUMA) < 0.35:
        first, second = rng.random((2, 3))
    y, x = np.mgrid[:size, :size] + 0.5
    dx, dy = (x - centre[0]) / radius, (y - centre[1]) / radius
    u, v = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
    return np.where(_pattern(rng, name, u, v)[..., None], first, second)


def outlined(scene, *, scale: int) -> np.ndarray:
    """The scene enlarged by ``scale``, with box, outline and name of each object drawn in."""
    picture = cv2.resize(scene.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    for mask, name in zip(scene.masks, scene.classes, strict=True):
        large = cv2.resize(mask.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, (255, 255, 255), 1)
        x, y, w, h = cv2.boundingRect(large)
        cv2.rectangle(picture, (x, y), (x + w - 1, y + h - 1), (255, 220, 0), 1)
        cv2.putText(picture, name, (x + 2, y + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(picture, name, (x + 2, y + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(picture, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
