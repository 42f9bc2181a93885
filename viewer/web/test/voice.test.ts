import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { Behaviour } from '../src/voice/behaviour.ts';
import { FeatureStream, RATE_HZ, transform } from '../src/voice/features.ts';
import { readVoice } from '../src/voice/network.ts';
import { Resampler } from '../src/voice/resample.ts';
import { START_S, VoiceStream, type VoiceFrame } from '../src/voice/stream.ts';
import type { Style } from '../src/voice/style.ts';
import { random } from './synthetic.ts';

// What Python says to the same sound; tests/viewer/test_parity.py writes it and runs this file.
const folder = process.env['AVATAR3D_VECTORS'];
const TOLERANCE = 1e-4; // of coefficients in 0..1: single precision, summed in other orders

/** A stream's frames for a sound in pieces of a few lengths. */
function heard(stream: VoiceStream, sound: Float32Array, sizes: number[]): VoiceFrame[] {
  const frames: VoiceFrame[] = [];
  for (let at = 0, i = 0; at < sound.length; i++) {
    const size = sizes[i % sizes.length]!;
    frames.push(...stream.push(sound.subarray(at, at + size)));
    at += size;
  }
  return [...frames, ...stream.finish()];
}

describe.skipIf(!folder)('the voice against the networks in Python', () => {
  it('gives the same codes from the same samples, in pieces of any size', async () => {
    const model = await readVoice(readFileSync(`${folder}/voice.safetensors`));
    const bytes = readFileSync(`${folder}/sound.f32`);
    const sound = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const rows: { style: Style; start_s: number; coefficients: number[][]; energy: number[] }[] = JSON.parse(
      readFileSync(`${folder}/voice.json`, 'utf8'),
    );
    rows.forEach(({ style, start_s, coefficients, energy }, row) => {
      const frames = heard(new VoiceStream(model, style), sound, row ? [sound.length] : [128, 1, 0, 999, 160]);
      expect(frames.length).toBe(coefficients.length);
      expect(START_S).toBeCloseTo(start_s, 9);
      let worst = 0;
      frames.forEach((frame, t) => {
        frame.coefficients.forEach((value, i) => (worst = Math.max(worst, Math.abs(value - coefficients[t]![i]!))));
        worst = Math.max(worst, Math.abs(frame.energy - energy[t]!));
      });
      expect(worst).toBeLessThan(TOLERANCE);
    });
  });
});

describe.skipIf(!folder)('the performer against the one in Python', () => {
  it('blinks, looks, frowns and sways the same from the same seed and voice', () => {
    const rows: { seed: number; energy: number[]; coefficients: number[][]; turn: number[][] }[] = JSON.parse(
      readFileSync(`${folder}/behaviour.json`, 'utf8'),
    );
    for (const { seed, energy, coefficients, turn } of rows) {
      const behaviour = new Behaviour(seed);
      let worst = 0;
      energy.forEach((value, t) => {
        const extras = behaviour.step(value);
        extras.coefficients.forEach((one, i) => (worst = Math.max(worst, Math.abs(one - coefficients[t]![i]!))));
        extras.turn.forEach((one, i) => (worst = Math.max(worst, Math.abs(one - turn[t]![i]!))));
      });
      expect(worst).toBeLessThan(1e-6); // Python rounds to single precision
    }
    expect(rows.length).toBeGreaterThan(1);
  });
});

describe('sound of another rate', () => {
  const tone = (hertz: number, rate: number, count: number) =>
    Float32Array.from({ length: count }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / rate));
  const loudness = (samples: Float32Array) => Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);

  it.each([8000, 22050, 44100, 48000, 96000])('comes to 16 kHz from %i Hz', (rate) => {
    const given = new Resampler(rate).push(tone(900, rate, rate)), wanted = tone(900, RATE_HZ, RATE_HZ);
    expect(Math.abs(given.length - RATE_HZ)).toBeLessThan(40); // the last ones wait for what follows
    const off = given.map((value, i) => value - wanted[i]!).subarray(40);
    expect(loudness(off)).toBeLessThan(1e-3);
  });

  it('loses what 16 kHz cannot hold', () => {
    expect(loudness(new Resampler(48000).push(tone(6000, 48000, 48000)).subarray(40))).toBeGreaterThan(0.69);
    expect(loudness(new Resampler(48000).push(tone(11000, 48000, 48000)).subarray(40))).toBeLessThan(1e-3);
  });

  it('does not depend on how it is cut', () => {
    const next = random(8), sound = Float32Array.from({ length: 9000 }, () => next() - 0.5);
    const whole = new Resampler(44100).push(sound), stream = new Resampler(44100);
    const parts: number[] = [];
    for (let at = 0, i = 0; at < sound.length; at += [128, 1, 700, 0][i++ % 4]!)
      parts.push(...stream.push(sound.subarray(at, at + [128, 1, 700, 0][i % 4]!)));
    expect(parts.length).toBe(whole.length);
    expect(Math.max(...parts.map((value, i) => Math.abs(value - whole[i]!)))).toBeLessThan(1e-6);
  });
});

describe('features', () => {
  it('transform by the definition', () => {
    const next = random(2);
    const signal = Float64Array.from({ length: 512 }, () => next() - 0.5);
    const real = signal.slice(), imaginary = new Float64Array(512);
    transform(real, imaginary);
    for (const k of [0, 1, 37, 255, 256, 511]) {
      let x = 0, y = 0;
      signal.forEach((value, n) => {
        x += value * Math.cos((2 * Math.PI * k * n) / 512);
        y -= value * Math.sin((2 * Math.PI * k * n) / 512);
      });
      expect(Math.hypot(real[k]! - x, imaginary[k]! - y)).toBeLessThan(1e-10);
    }
  });

  it('do not depend on how the sound is cut', () => {
    const next = random(3);
    const sound = Float32Array.from({ length: 5000 }, () => next() - 0.5);
    const whole = new FeatureStream().push(sound);
    const stream = new FeatureStream();
    const pieces: Float32Array[] = [];
    for (let at = 0; at < sound.length; at += 331) pieces.push(...stream.push(sound.subarray(at, at + 331)));
    expect(pieces).toEqual(whole);
    expect(whole.length).toBe(Math.floor((5000 - 400) / 160) + 1);
  });
});

describe('voices that are none', () => {
  it.each([new Uint8Array(0), new Uint8Array([9, 0, 0, 0, 0, 0, 0, 0, 123]), new TextEncoder().encode('RIFF....WAVE')])(
    'are refused in words', async (bytes) => {
      await expect(readVoice(bytes)).rejects.toThrow(/^(This is no voice|The file is damaged)/);
    },
  );
});
