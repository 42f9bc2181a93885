"""Nine expressions by name, as sums of ARKit coefficients."""

from __future__ import annotations

from avatar3d.codes import ExpressionCode, both_sides
from avatar3d.errors import UserError

# Amounts are below 1 where the full shape is a grimace that people seldom make.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": both_sides(mouthSmile=0.7, cheekSquint=0.4, eyeSquint=0.2, mouthDimple=0.2),
    "laugh": {
        "jawOpen": 0.4,
        **both_sides(mouthSmile=0.75, cheekSquint=0.5, eyeSquint=0.35, mouthUpperUp=0.3),
    },
    "surprise": {
        "jawOpen": 0.45,
        "browInnerUp": 0.8,
        **both_sides(browOuterUp=0.7, eyeWide=0.7),
    },
    "anger": both_sides(browDown=0.8, eyeSquint=0.3, noseSneer=0.5, mouthPress=0.4, mouthFrown=0.2),
    "sadness": {
        "browInnerUp": 0.7,
        "mouthShrugLower": 0.4,
        **both_sides(mouthFrown=0.6, eyeLookDown=0.25, eyeBlink=0.15),
    },
    "kiss": {"mouthPucker": 0.8, "mouthFunnel": 0.15},
    "eyes closed": both_sides(eyeBlink=1.0),
    "look aside": {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
}


def expression_code(name: str, amount: float = 1.0) -> ExpressionCode:
    """The code of a named expression, scaled by `amount`, in the neutral pose."""
    if name not in EXPRESSIONS:
        raise UserError(f"there is no expression {name!r}; choose from {', '.join(EXPRESSIONS)}")
    return ExpressionCode.from_named(
        **{coefficient: amount * value for coefficient, value in EXPRESSIONS[name].items()}
    )
