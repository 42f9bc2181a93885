"""The person network behind one function, from either API that MediaPipe has had."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from recon.capture.models import SELFIE_SEGMENTER, locate_model
from recon.capture.quiet import load_mediapipe, no_native_stderr, no_warnings

# One network for all threads; and what hushes it changes the process, not the thread.
_one_at_a_time = Lock()
_BLANK = np.full((64, 64, 3), 127, np.uint8)


def person_probability(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much the network takes each pixel of u8 [H, W, 3] for a person: f32 [H, W] in 0..1.

    Mean over the picture and its mirror image, whose errors differ at the edges. The network sees
    256 x 256 pixels, so the answer is coarse.
    """
    with _one_at_a_time:
        segment = _segmenter(os.environ.get(SELFIE_SEGMENTER.environment))
        mirrored = segment(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
        upright = segment(np.ascontiguousarray(image))
    return np.clip((upright + mirrored) / 2.0, 0.0, 1.0)


@lru_cache(maxsize=1)
def _segmenter(given_path: str | None) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Start the network once; hushed on a blank picture, as the face mesh is."""
    mediapipe = load_mediapipe()
    if not given_path and hasattr(mediapipe, "solutions"):
        with no_warnings(), no_native_stderr():
            graph = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
            graph.process(_BLANK)

        def by_solution(image: NDArray[np.uint8]) -> NDArray[np.float32]:
            with no_warnings():
                return np.array(graph.process(image).segmentation_mask, np.float32)

        return by_solution

    vision = mediapipe.tasks.vision
    options = vision.ImageSegmenterOptions(
        base_options=mediapipe.tasks.BaseOptions(
            model_asset_path=str(locate_model(SELFIE_SEGMENTER, given_path))
        ),
        output_confidence_masks=True,
        output_category_mask=False,
    )
    with no_warnings(), no_native_stderr():
        task = vision.ImageSegmenter.create_from_options(options)

    def by_task(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        with no_warnings(), no_native_stderr():
            picture = mediapipe.Image(mediapipe.ImageFormat.SRGB, image)
            masks = task.segment(picture).confidence_masks
            # One mask a class; the last is the person, whether or not the background has its own.
            return np.array(masks[-1].numpy_view(), np.float32).reshape(image.shape[:2])

    return by_task
