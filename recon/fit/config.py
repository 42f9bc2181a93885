"""How the fit refines: numbers with their units; presets in configs/ override them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class LearningRates:
    """Adam's step sizes at the first iteration; they fall along a half cosine to a tenth."""

    offsets: float = 2e-4  # metres
    rotations: float = 0.02
    log_scales: float = 0.25
    opacity_logits: float = 0.25
    colors: float = 0.08
    # Slow: a basis that learns as fast as the rest explains single frames, not expressions.
    basis_offsets: float = 6e-6  # metres
    basis_colors: float = 0.001


@dataclass(frozen=True)
class PoseRates:
    """Step sizes of a frame's pose and code, refined with the picture.

    Small: an avatar that comes to stand where the tracker does not see it is in the wrong place
    in every other frame (steps five times as long: .3 dB off the head at 32 frames; none at all:
    less SSIM).
    """

    rotation: float = 0.0015  # radians
    translation: float = 8e-5  # metres
    coefficients: float = 0.008
    neck: float = 0.001  # radians


@dataclass(frozen=True)
class RefineConfig:
    """Refinement of an avatar on its support frames."""

    # One photo is soon learned by heart; many frames disagree and take longer.
    iterations: int = 110
    iterations_per_frame: int = 10  # for each frame after the first
    max_iterations: int = 265
    learning_rates: LearningRates = field(default_factory=LearningRates)
    pose_rates: PoseRates = field(default_factory=PoseRates)
    refine_codes: bool = True
    refine_codes_after: float = 0.15  # of the iterations: first let the colours settle
    basis_rank: int = 8  # 0: the look does not change with the code
    ssim_weight: float = 0.3
    close_ups: float = 0.25  # share of the steps; see `recon.fit.shots`
    alpha_weight: float = 1.0
    # Sharpness .59 to .68 at 32 frames for .06 dB, as .35 did while holes in the skin were a way to
    # draw a pore. What many frames agree on is detail more surely than what one shows: at 32, .85
    # against .45 brings .70 to .75 for .01 dB, and .95 .01 more, which hair lost that is held where
    # frames disagree; at 8 .85 would cost .05 dB.
    texture_weight: float = 0.45
    texture_weight_of_many: float = 0.95  # from `many_frames` on
    many_frames: int = 32
    # Colours change like their neighbours' and stay near the start; energies are means over the
    # anchors. They are for one frame, and F frames outvote them F to one: colours that match one
    # photo's every pixel fit no other pose, so only what neighbours share is learned from it.
    color_smoothness: float = 7.0
    color_prior: float = 0.5
    # What a prior says of the shading is worth more than what one photo says.
    learned_color_prior: float = 60.0
    scale_range: tuple[float, float] = (0.25, 2.2)  # of the footprint
    max_opacity_logit: float = 6.0
    max_offset_m: float = 0.06  # long hair; nothing of a head stands farther off
    seed: int = 0

    def texture_weight_for(self, frame_count: int) -> float:
        """Between one frame's and many frames', in step with their number."""
        share = min(1.0, (frame_count - 1) / max(1, self.many_frames - 1))
        return self.texture_weight + share * (self.texture_weight_of_many - self.texture_weight)

    def iterations_for(self, frame_count: int) -> int:
        """Steps for so many support frames."""
        wanted = self.iterations + self.iterations_per_frame * (frame_count - 1)
        return min(wanted, max(self.max_iterations, self.iterations))
