"""Sound to features: log-mel energies at 100 Hz, normalised by what was heard up to now.

Feature frame i covers the samples [160 i, 160 i + 400) of the signal, so it is known at
(160 i + 400) / 16000 seconds. Nothing looks ahead, and everything is computed frame by frame, so
that a stream in chunks of any size gives what the whole file gives.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

RATE_HZ = 16_000
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms
BANDS = 80
FEATURES = BANDS + 1  # and the loudness against the recent peak

_LOWEST_HZ, _HIGHEST_HZ = 40.0, 7800.0
_FLOOR = 1e-6  # of a band's energy: -60 dB, below every room
# Loudness (mean log energy): the peak follows rises within 30 ms and falls by 0.2 nats a second.
_PEAK_START, _PEAK_LOWEST, _PEAK_RISE, _PEAK_FALL = -2.0, -8.0, 0.3, 0.002
_SPEECH_BELOW_PEAK = 4.5  # nats: quieter frames are pauses, and say nothing about the voice
# The mean spectrum of the speech heard: starts at a guess that counts for 30 frames, ends as an
# average over the last 4 s. It takes out the microphone and the room.
_MEAN_START, _MEAN_START_FRAMES, _MEAN_FRAMES = -3.0, 30.0, 400.0
_SCALE, _LIMIT, _LOUDNESS_SCALE = 0.4, 3.5, 0.3  # to about unit variance, outliers cut


def mel_filters() -> Float[np.ndarray, "80 257"]:
    """Triangles that are evenly spaced on the mel scale (O'Shaughnessy 1987)."""
    lowest, highest = (2595 * np.log10(1 + hz / 700) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(FFT, 1 / RATE_HZ)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)


_FILTERS = mel_filters().T.copy()
_WINDOW = np.hanning(WINDOW).astype(np.float32)
_SILENCE = np.zeros(0, np.float32)


def log_mel(samples: Float[np.ndarray, " N"]) -> Float[np.ndarray, "T 80"]:
    """Natural logarithm of the energy in each band, of every whole window."""
    count = max(0, (len(samples) - WINDOW) // HOP + 1)
    if count == 0:
        return np.zeros((0, BANDS), np.float32)
    samples = np.ascontiguousarray(samples, np.float32)
    step = samples.itemsize
    # numpy's own view of windows checks so much that a microphone's 20 ms pay more for it than for
    # their spectrum.
    windows = np.ndarray((count, WINDOW), np.float32, samples, strides=(HOP * step, step))
    spectrum = np.fft.rfft(windows * _WINDOW, FFT)
    energy = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return np.log(energy @ _FILTERS + np.float32(_FLOOR))


class Normaliser:
    """Log-mel of B voices side by side to features; what it has heard is its state.

    Numbers that are one a frame (loudness, its peak, how much was heard) are Python's, since an
    operation on arrays costs fifty of theirs and a microphone gives two frames at a time.
    """

    def __init__(self, voices: int = 1) -> None:
        self._mean = np.full((voices, BANDS), _MEAN_START, np.float64)
        self._levels = [_Level() for _ in range(voices)]

    def __call__(self, bands: Float[np.ndarray, "B T 80"]) -> Float[np.ndarray, "B T 81"]:
        """The next frames of each voice."""
        loudness = np.add.reduce(bands, 2, np.float64) / BANDS
        followed = [level.follow(row) for level, row in zip(self._levels, loudness.tolist())]
        shares = np.array([shares for shares, _ in followed]).reshape(*loudness.shape, 1)
        means = np.empty(bands.shape)
        mean = self._mean
        for frame in range(bands.shape[1]):
            mean = mean + (bands[:, frame] - mean) * shares[:, frame]
            means[:, frame] = mean
        self._mean = mean
        features = np.empty((*bands.shape[:2], FEATURES), np.float32)
        colour = (bands - means) * _SCALE
        features[..., :BANDS] = np.minimum(np.maximum(colour, -_LIMIT), _LIMIT)
        features[..., BANDS] = [below_peak for _, below_peak in followed]
        return features


class _Level:
    """How loud one voice is against its recent peak, and how much of it was speech."""

    def __init__(self) -> None:
        self._heard, self._peak = _MEAN_START_FRAMES, _PEAK_START

    def follow(self, loudness: list[float]) -> tuple[list[float], list[float]]:
        """Of each frame: its share in the mean spectrum, 0 in a pause, and its scaled loudness."""
        heard, peak = self._heard, self._peak
        shares, below_peak = [], []
        for loud in loudness:
            peak = peak + _PEAK_RISE * (loud - peak) if loud > peak else peak - _PEAK_FALL
            peak = max(peak, _PEAK_LOWEST)
            if loud > peak - _SPEECH_BELOW_PEAK:
                heard = min(heard + 1, _MEAN_FRAMES)
                shares.append(1 / heard)
            else:
                shares.append(0.0)
            below_peak.append((loud - peak) * _LOUDNESS_SCALE)
        self._heard, self._peak = heard, peak
        return shares, below_peak


class FeatureStream:
    """Samples in pieces of any size to features, each as soon as its window is full."""

    def __init__(self) -> None:
        self._normaliser = Normaliser()
        self._rest = _SILENCE

    def push(self, samples: Float[np.ndarray, " N"]) -> Float[np.ndarray, "T 81"]:
        heard = np.concatenate([self._rest, samples])
        bands = log_mel(heard)
        self._rest = heard[len(bands) * HOP :]
        return self._normaliser(bands[None])[0]


def features(samples: Float[np.ndarray, " N"]) -> Float[np.ndarray, "T 81"]:
    """Features of a whole signal."""
    return FeatureStream().push(samples)
