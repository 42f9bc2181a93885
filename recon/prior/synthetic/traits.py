"""What a synthetic person looks like, in words and numbers, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

HairStyle = Literal["bald", "buzz", "short", "quiff", "side", "bob", "long", "curly", "afro", "bun"]
Beard = Literal["none", "stubble", "moustache", "goatee", "short", "full"]
Glasses = Literal["none", "round", "square", "sun"]
Clothes = Literal["crew", "vneck", "shirt", "suit", "hoodie"]
Color = tuple[float, float, float]

# sRGB of foreheads in soft daylight, from light to dark.
_TONES = np.array([
    (0.93, 0.79, 0.71), (0.89, 0.72, 0.61), (0.83, 0.64, 0.52), (0.75, 0.55, 0.42),
    (0.63, 0.44, 0.32), (0.50, 0.34, 0.25), (0.37, 0.25, 0.19), (0.29, 0.20, 0.16),
])  # fmt: skip
_HAIR = {
    "black": (0.09, 0.08, 0.08), "dark": (0.16, 0.12, 0.10), "brown": (0.29, 0.20, 0.14),
    "light": (0.45, 0.33, 0.22), "blond": (0.70, 0.56, 0.37), "red": (0.50, 0.25, 0.13),
    "grey": (0.52, 0.51, 0.50), "white": (0.80, 0.79, 0.77), "dyed": (0.35, 0.22, 0.40),
}  # fmt: skip
_IRIS = {
    "brown": (0.30, 0.19, 0.11), "dark": (0.18, 0.12, 0.08), "hazel": (0.42, 0.32, 0.17),
    "green": (0.40, 0.45, 0.30), "blue": (0.40, 0.52, 0.64), "grey": (0.48, 0.52, 0.55),
}  # fmt: skip


@dataclass(frozen=True)
class Traits:
    """One person's looks. Shares lie in 0..1."""

    tone: float  # 0 lightest skin, 1 darkest
    skin: Color
    ruddiness: float
    age: float
    freckles: float
    lipstick: float
    lip_color: Color
    iris: Color
    hair: Color
    brow: Color
    brow_weight: float
    lashes: float
    style: HairStyle
    hairline: float  # -1 low to 1 receding
    beard: Beard
    beard_color: Color
    glasses: Glasses
    clothes: Clothes


def random_traits(rng: np.random.Generator) -> Traits:
    """Looks that go together: dark hair with dark skin, beards on some, grey hair with age."""
    tone = float(rng.uniform(0, 1))
    skin = _jittered(_between(_TONES, tone), 0.03, rng)
    feminine = rng.random() < 0.5
    age = float(rng.beta(1.3, 1.6))
    hair = _jittered(np.array(_HAIR[_hair_name(tone, age, rng)]), 0.12, rng)
    styles, shares = _styles(feminine, tone, age)
    style = str(rng.choice(styles, p=shares))
    beard = "none" if feminine else str(
        rng.choice(
            ["none", "stubble", "moustache", "goatee", "short", "full"],
            p=[0.36, 0.24, 0.06, 0.09, 0.14, 0.11],
        )
    )  # fmt: skip
    lipstick = float(rng.beta(2, 2)) if feminine and rng.random() < 0.45 else 0.0
    lip_color = _jittered(
        np.array([(0.62, 0.12, 0.16), (0.72, 0.32, 0.34), (0.50, 0.14, 0.22), (0.75, 0.40, 0.34)])[
            rng.integers(4)
        ],
        0.08,
        rng,
    )
    dark = hair if hair.mean() < 0.5 else hair * 0.62
    return Traits(
        tone=tone,
        skin=_color(skin),
        ruddiness=float(rng.uniform(0.2, 1.0)),
        age=age,
        freckles=float(rng.beta(1, 2) if tone < 0.45 and rng.random() < 0.4 else 0.0),
        lipstick=lipstick,
        lip_color=_color(lip_color),
        iris=_color(_jittered(np.array(_IRIS[_iris_name(tone, rng)]), 0.12, rng)),
        hair=_color(hair),
        brow=_color(0.85 * dark),
        brow_weight=float(rng.uniform(0.35, 0.65) if feminine else rng.uniform(0.55, 1.0)),
        lashes=float(rng.uniform(0.6, 1.3) if feminine else rng.uniform(0.2, 0.6)),
        style=style,  # type: ignore[arg-type]
        hairline=float(rng.uniform(-1, 0.4) if feminine else rng.uniform(-0.8, 0.3 + 0.7 * age)),
        beard=beard,  # type: ignore[arg-type]
        beard_color=_color(_jittered(dark, 0.15, rng)),
        glasses=str(rng.choice(["none", "round", "square", "sun"], p=[0.72, 0.11, 0.14, 0.03])),  # type: ignore[arg-type]
        clothes=str(
            rng.choice(["crew", "vneck", "shirt", "suit", "hoodie"], p=[0.3, 0.2, 0.22, 0.14, 0.14])
        ),  # type: ignore[arg-type]
    )


def _styles(feminine: bool, tone: float, age: float) -> tuple[list[str], list[float]]:
    if feminine:
        weights = {
            "long": 0.34,
            "bob": 0.2,
            "bun": 0.16,
            "curly": 0.14,
            "side": 0.08,
            "short": 0.03,
        }
        weights["afro"] = 0.25 if tone > 0.6 else 0.01
        weights["buzz"] = 0.03
    else:
        weights = {
            "short": 0.26,
            "quiff": 0.16,
            "side": 0.22,
            "buzz": 0.14,
            "curly": 0.1,
            "long": 0.05,
        }
        weights["bald"] = 0.04 + 0.2 * age
        weights["afro"] = 0.15 if tone > 0.6 else 0.01
    total = sum(weights.values())
    return list(weights), [value / total for value in weights.values()]


def _hair_name(tone: float, age: float, rng: np.random.Generator) -> str:
    if rng.random() < max(0.0, 1.5 * age - 0.75):
        return "grey" if rng.random() < 0.6 else "white"
    if rng.random() < 0.03:
        return "dyed"
    if tone > 0.55:
        return str(rng.choice(["black", "dark"], p=[0.65, 0.35]))
    names = ["black", "dark", "brown", "light", "blond", "red"]
    return str(rng.choice(names, p=[0.14, 0.24, 0.26, 0.14, 0.15, 0.07]))


def _iris_name(tone: float, rng: np.random.Generator) -> str:
    if tone > 0.5:
        return str(rng.choice(["brown", "dark"]))
    return str(rng.choice(list(_IRIS), p=[0.28, 0.14, 0.16, 0.12, 0.2, 0.1]))


def _between(table: np.ndarray, share: float) -> np.ndarray:
    place = share * (len(table) - 1)
    low = min(int(place), len(table) - 2)
    return table[low] + (place - low) * (table[low + 1] - table[low])


def _jittered(color: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Brighter or darker by up to `amount`, each channel by a third of it."""
    factor = 1 + rng.uniform(-amount, amount) + rng.uniform(-amount, amount, 3) / 3
    return np.clip(color * factor, 0.02, 0.97)


def _color(values: np.ndarray) -> Color:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
