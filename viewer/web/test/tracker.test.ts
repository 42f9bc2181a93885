import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { nearestRotation, rotationMatrix, solve, turnBetween } from '../src/tracker/linear.ts';
import { readModel } from '../src/tracker/model.ts';
import { boxMinimum } from '../src/tracker/solver.ts';
import { FaceTracker } from '../src/tracker/tracker.ts';
import { random } from './synthetic.ts';

// The model and what Python's solver makes of the same landmarks; tests/viewer/test_parity.py
// writes them and runs this file.
const TOLERANCE = 5e-4; // of coefficients in 0..1: the model's numbers are rounded
const POSE_TOLERANCE = 1e-4; // of quaternions, and metres
const folder = process.env['AVATAR3D_VECTORS'];

interface Row {
  time_s: number;
  landmarks_px: number[] | null;
  status: string;
  coefficients: number[];
  head_rotation: number[];
  head_translation: number[];
  neck_rotation: number[];
  state?: { code: number[]; rotation: number[]; translation: number[] };
}

const apart = (a: ArrayLike<number>, b: ArrayLike<number>) => Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));
/** q and -q are the same rotation. */
const turnApart = (a: ArrayLike<number>, b: number[]) => Math.min(apart(a, b), apart(a, b.map((value) => -value)));

describe.skipIf(!folder)('the tracker against the solver in Python', () => {
  it('gives the same codes from the same landmarks: rest, calibration, motion, lost, found', async () => {
    const model = await readModel(gzipSync(readFileSync(`${folder}/model.json`)));
    const vectors = JSON.parse(readFileSync(`${folder}/vectors.json`, 'utf8'));
    const tracker = new FaceTracker(model, { calibrationS: vectors.calibration_s });
    const worst = { coefficients: 0, raw: 0, turn: 0, neck: 0, place: 0 };
    const seen = new Set<string>();
    for (const row of vectors.frames as Row[]) {
      const { code, status } = tracker.update(row.landmarks_px, vectors.size_px, row.time_s);
      expect(status).toBe(row.status);
      seen.add(status);
      worst.coefficients = Math.max(worst.coefficients, apart(code.coefficients, row.coefficients));
      worst.turn = Math.max(worst.turn, turnApart(code.head, row.head_rotation));
      worst.neck = Math.max(worst.neck, turnApart(code.neck, row.neck_rotation));
      worst.place = Math.max(worst.place, apart(code.translation, row.head_translation));
      if (row.state) worst.raw = Math.max(worst.raw, apart(tracker.state!.code, row.state.code));
    }
    expect([...seen].sort()).toEqual(['calibrating', 'lost', 'tracked']);
    expect(worst.coefficients).toBeLessThan(TOLERANCE);
    expect(worst.raw).toBeLessThan(TOLERANCE);
    expect(Math.max(worst.turn, worst.neck, worst.place)).toBeLessThan(POSE_TOLERANCE);
  });

  it('refuses a model that is not whole', async () => {
    const text = readFileSync(`${folder}/model.json`, 'utf8');
    const changed = (change: (model: any) => void) => {
      const model = JSON.parse(text);
      change(model);
      return new TextEncoder().encode(JSON.stringify(model));
    };
    for (const bytes of [
      new Uint8Array(0), new TextEncoder().encode('<!doctype html>'), new TextEncoder().encode(text.slice(0, -9)),
      changed((model) => (model.format = 99)), changed((model) => model.neutral.values.pop()),
      changed((model) => (model.landmarks[0] = 478)), changed((model) => (model.constants.damping = null)),
      changed((model) => (model.prior.jaw = 1.5)), changed((model) => (model.gaps[0] = [0])),
    ])
      await expect(readModel(bytes)).rejects.toThrow(/^The tracker's model cannot be used: .*\.$/);
  });
});

describe('linear algebra', () => {
  const next = random(7);
  const numbers = (count: number) => Float64Array.from({ length: count }, () => 2 * next() - 1);

  it('solves systems, whatever the order of their rows', () => {
    for (const n of [1, 3, 20]) {
      const a = numbers(n * n), x = numbers(2 * n);
      a[0] = 0; // needs a pivot
      if (n === 1) a[0] = 3;
      const b = new Float64Array(2 * n);
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) for (let c = 0; c < 2; c++) b[2 * i + c]! += a[n * i + j]! * x[2 * j + c]!;
      expect(apart(solve(a.slice(), b, n, 2), x)).toBeLessThan(1e-8);
    }
  });

  it('takes rotations apart and puts them together', () => {
    const [x, y, z] = [0.4, -0.9, 1.1];
    const turn = rotationMatrix(x, y, z), none = rotationMatrix(0, 0, 0);
    expect(apart(turnBetween(turn, none), [x, y, z])).toBeLessThan(1e-12);
    const near = nearestRotation(turn.map((value, i) => 1.7 * value + 0.02 * Math.sin(i)));
    for (let i = 0; i < 3; i++)
      for (let j = 0; j < 3; j++) {
        const dot = near[3 * i]! * near[3 * j]! + near[3 * i + 1]! * near[3 * j + 1]! + near[3 * i + 2]! * near[3 * j + 2]!;
        expect(dot).toBeCloseTo(i === j ? 1 : 0, 9);
      }
    expect(apart(nearestRotation(turn.map((value) => 0.3 * value)), turn)).toBeLessThan(1e-9);
  });

  it('finds the minimum in a box: slopes vanish inside and point outward at its sides', () => {
    for (let trial = 0; trial < 20; trial++) {
      const n = 12, root = numbers(n * n), h = new Float64Array(n * n), g = numbers(n);
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          h[n * i + j] = i === j ? 0.5 : 0;
          for (let k = 0; k < n; k++) h[n * i + j]! += root[n * i + k]! * root[n * j + k]!;
        }
      const low = new Float64Array(n).map(() => -0.1 * next()), high = new Float64Array(n).map(() => 0.1 * next());
      const move = boxMinimum(h, g, low, high, 50);
      for (let i = 0; i < n; i++) {
        let slope = g[i]!;
        for (let j = 0; j < n; j++) slope -= h[n * i + j]! * move[j]!;
        expect(move[i]! >= low[i]! && move[i]! <= high[i]!).toBe(true);
        if (move[i]! > low[i]! + 1e-12 && move[i]! < high[i]! - 1e-12) expect(Math.abs(slope)).toBeLessThan(1e-8);
        else expect(move[i]! >= high[i]! - 1e-12 ? slope : -slope).toBeGreaterThan(-1e-8);
      }
    }
  });
});
