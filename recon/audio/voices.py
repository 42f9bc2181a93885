"""Augmentation of speech: other throats, rooms, microphones and noises.

`Room` changes the sound itself (slow, once a synthetic utterance); `disguise` changes log-mel bands
(fast, anew each time that a training step meets them).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import signal

from avatar3d.audio.features import BANDS, RATE_HZ

_CROWD = 60  # utterances that are kept as other people's talk


def warp(samples: Float[np.ndarray, " N"], from_hz: float, to_hz: float) -> Float[np.ndarray, " M"]:
    """Resample by any ratio; what a slower rate cannot carry is filtered off first."""
    filters = signal.butter(6, min(0.98, 0.875 * to_hz / from_hz), output="sos")
    smooth = signal.sosfiltfilt(filters, samples) if len(samples) > 64 else samples
    positions = np.arange(int(len(samples) * to_hz / from_hz)) * from_hz / to_hz
    return np.interp(positions, np.arange(len(samples)), smooth)


class Room:
    """Where a voice is heard: reverberation, a microphone's colour, noise, level."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._crowd: list[np.ndarray] = []

    def place(self, voice: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        rng = self._rng
        voice = voice / (np.abs(voice).max() + 1e-9) * 0.3
        if len(self._crowd) < _CROWD:
            self._crowd.append(voice)
        if rng.random() < 0.85:
            voice = self._noisy(self._coloured(self._reverberant(voice)))
        level, hiss = 10 ** rng.uniform(-1.6, -0.05), 10 ** rng.uniform(-5, -3.3)
        voice = voice / (np.abs(voice).max() + 1e-9) * level
        return voice + rng.standard_normal(len(voice)) * hiss

    def _reverberant(self, voice: np.ndarray) -> np.ndarray:
        rng = self._rng
        if rng.random() > 0.4:
            return voice
        length = int(rng.uniform(0.08, 0.6) * RATE_HZ)
        # Noise that has decayed by 60 dB at the end.
        tail = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
        tail *= rng.uniform(0.1, 0.6) / np.sqrt((tail**2).sum())
        tail[0] = 1.0
        return signal.fftconvolve(voice, tail)[: len(voice)]

    def _coloured(self, voice: np.ndarray) -> np.ndarray:
        rng = self._rng
        if rng.random() < 0.7:
            gains_db = rng.normal(0, 4, 8)
            spectrum = np.fft.rfft(voice)
            at = np.sqrt(np.linspace(0, 1, len(spectrum)))
            spectrum *= 10 ** (np.interp(at, np.linspace(0, 1, 8), gains_db) / 20)
            voice = np.fft.irfft(spectrum, len(voice))
        if rng.random() < 0.15:  # a telephone
            edges = rng.uniform(100, 300), rng.uniform(3300, 5000)
            sos = signal.butter(4, np.array(edges) / (RATE_HZ / 2), "band", output="sos")
            voice = np.asarray(signal.sosfilt(sos, voice))
        return voice

    def _noisy(self, voice: np.ndarray) -> np.ndarray:
        rng = self._rng
        if rng.random() > 0.7:
            return voice
        level_db, noise = rng.uniform(5, 40), _noise(rng, len(voice))
        if rng.random() < 0.3:  # a few other people
            noise, level_db = np.zeros(len(voice)), rng.uniform(8, 40)
            for _ in range(rng.integers(1, 5)):
                other = self._crowd[rng.integers(len(self._crowd))]
                noise += np.resize(np.roll(other, rng.integers(len(other))), len(voice))
            noise /= noise.std() + 1e-9
        return voice + noise * (voice.std() + 1e-9) * 10 ** (-level_db / 20)


def _noise(rng: np.random.Generator, length: int) -> np.ndarray:
    """From white to brown, unit variance."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= (np.arange(len(spectrum)) + 1.0) ** (-rng.uniform(0, 2) / 2)
    noise = np.fft.irfft(spectrum, length)
    return noise / (noise.std() + 1e-9)


def disguise(
    bands: Float[np.ndarray, "T 80"], rng: np.random.Generator, strength: float = 1.0
) -> Float[np.ndarray, "T 80"]:
    """The same speech from another throat, with other contrast, microphone and background."""
    stretch = 1 + strength * rng.uniform(-0.12, 0.12)
    at = np.clip(np.arange(BANDS) * stretch + strength * rng.uniform(-2, 2), 0, BANDS - 1)
    low = np.floor(at).astype(int)
    share = (at - low).astype(np.float32)
    bands = bands[:, low] * (1 - share) + bands[:, np.minimum(low + 1, BANDS - 1)] * share
    mean = bands.mean(1, keepdims=True)
    bands = mean + (bands - mean) * np.float32(1 + strength * rng.uniform(-0.4, 0.15))
    if rng.random() < 0.5 * strength:
        bands = _blurred(bands, int(rng.choice([3, 5, 7])))
    bands = bands + _curve(rng, 7, strength) + np.float32(rng.uniform(-2, 1))
    floor = np.float32(rng.uniform(-13.8, -6)) + _curve(rng, 5, strength)
    noise = floor + rng.normal(0, 0.5, bands.shape).astype(np.float32)
    bands = np.logaddexp(bands, noise)
    if rng.random() < 0.4:  # a gap in the spectrum
        start = rng.integers(0, BANDS - 12)
        bands[:, start : start + rng.integers(2, 12)] = bands.mean()
    return bands.astype(np.float32)


def _blurred(bands: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(bands, ((0, 0), (width // 2, width // 2)), "edge")
    return np.sum([padded[:, k : k + BANDS] for k in range(width)], axis=0) / width


def _curve(rng: np.random.Generator, points: int, size: float) -> np.ndarray:
    """A random smooth function of the band."""
    knots = np.linspace(0, BANDS - 1, points)
    return np.interp(np.arange(BANDS), knots, rng.normal(0, size, points)).astype(np.float32)
