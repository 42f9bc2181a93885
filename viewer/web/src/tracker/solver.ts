// Pose and code of one frame from its landmarks: damped Gauss-Newton steps in a box, as
// recon/track/live_solver.py does them (docs/live_tracking.md).
import { clamp, matMul3, mirror, nearestRotation, rotationMatrix, solve, turnBetween, type Mat3 } from './linear.ts';
import type { Face, Model, Prior } from './model.ts';

/** Head to camera (OpenCV axes) and the code of one frame. */
export interface State {
  rotation: Mat3;
  translation: [number, number, number];
  code: Float64Array; // [E]
}

const POSE = 6;

/** The unit direction of the camera in the head frame. */
export function viewOf({ rotation: r, translation: t }: State): [number, number, number] {
  const length = -Math.hypot(...t);
  const along = (j: number) => (t[0] * r[j]! + t[1] * r[3 + j]! + t[2] * r[6 + j]!) / length;
  return [along(0), along(1), along(2)];
}

/** The landmarks in the head frame, [N, 3] metres. */
export function facePoints(face: Face, code: Float64Array, view: readonly number[]): Float64Array {
  const out = face.neutral.slice();
  const { codes, squared } = face;
  const squares = squared.map((index) => code[index]! ** 2);
  const turn = [view[0]!, view[1]!, 1 - view[2]!, view[0]! * view[1]!];
  for (let i = 0; i < out.length; i++) {
    let sum = 0;
    for (let k = 0, at = i * codes; k < codes; k++) sum += face.expression[at + k]! * code[k]!;
    for (let k = 0, at = i * squares.length; k < squares.length; k++) sum += face.squares[at + k]! * squares[k]!;
    for (let k = 0; k < 4; k++) sum += face.turns[4 * i + k]! * turn[k]!;
    out[i]! += sum;
  }
  return out;
}

/** Points about the head's origin in camera axes, [N, 3]. */
export function turned(points: Float64Array, r: Mat3): Float64Array {
  const out = new Float64Array(points.length);
  for (let i = 0; i < points.length; i += 3) {
    const x = points[i]!, y = points[i + 1]!, z = points[i + 2]!;
    for (let row = 0; row < 3; row++) out[i + row] = r[3 * row]! * x + r[3 * row + 1]! * y + r[3 * row + 2]! * z;
  }
  return out;
}

/** What a frame shows of the points: residuals [N, 2] px, px by point [N, 2, 3], and `turned` points. */
export function project(face: Face, observed: Float64Array, focal: number, state: State) {
  const arm = turned(facePoints(face, state.code, viewOf(state)), state.rotation);
  const [tx, ty, tz] = state.translation;
  const residual = new Float64Array(2 * face.count);
  const byPoint = new Float64Array(6 * face.count);
  for (let i = 0; i < face.count; i++) {
    const scale = focal / (arm[3 * i + 2]! + tz);
    const px = scale * (arm[3 * i]! + tx), py = scale * (arm[3 * i + 1]! + ty);
    residual[2 * i] = observed[2 * i]! - px;
    residual[2 * i + 1] = observed[2 * i + 1]! - py;
    byPoint[6 * i] = byPoint[6 * i + 4] = scale;
    byPoint[6 * i + 2] = (-px * scale) / focal;
    byPoint[6 * i + 5] = (-py * scale) / focal;
  }
  return { arm, residual, byPoint };
}

/** 1/px^2 of landmarks [N] and gaps [G]. */
export function frameWeights(model: Model, face: Face, observed: Float64Array, residual: Float64Array, focal: number, state: State) {
  const c = model.constants;
  const pxPerM = focal / state.translation[2];
  const view = viewOf(state);
  const noise = 1 + c.TURN_NOISE * (1 - view[2]);
  const relative = new Float64Array(face.count);
  const apart = (a: number, b: number) => Math.hypot(observed[2 * a]! - observed[2 * b]!, observed[2 * a + 1]! - observed[2 * b + 1]!);
  for (let i = 0; i < face.count; i++) {
    const n = face.normals;
    const cosine = n[3 * i]! * view[0] + n[3 * i + 1]! * view[1] + n[3 * i + 2]! * view[2];
    const seen = clamp((cosine - c.AVERTED) / (c.FACING - c.AVERTED), c.HIDDEN_WEIGHT, 1);
    const length = Math.max(Math.hypot(residual[2 * i]!, residual[2 * i + 1]!), 1e-9);
    relative[i] = seen * Math.min(1, (c.OUTLIER_M * pxPerM) / length);
  }
  for (const [row, top, bottom] of face.irisRows)
    relative[row] = clamp((apart(top, bottom) / pxPerM - c.IRIS_HIDDEN_M) / (c.IRIS_SEEN_M - c.IRIS_HIDDEN_M), 0, 1);
  relative.forEach((value, i) => (relative[i] = value / noise ** 2));
  const gaps = Float64Array.from(face.gaps, ([upper, lower]) => {
    const noise2 = (c.GAP_NOISE_M * pxPerM) ** 2 + (c.GAP_NOISE_SHARE * apart(upper, lower)) ** 2;
    return ((Math.min(relative[upper]!, relative[lower]!) / noise2) * c.INDEPENDENT_GAPS) / face.gaps.length;
  });
  return { points: relative.map((value, i) => (face.weights[i]! * value) / (c.NOISE_M * pxPerM) ** 2), gaps };
}

/** The pose's columns of a landmark's two rows: d px / d (turn, translation), [2, 6] at `out[at]`. */
export function poseColumns(arm: Float64Array, byPoint: Float64Array, i: number, out: Float64Array, at: number, stride: number): void {
  const x = arm[3 * i]!, y = arm[3 * i + 1]!, z = arm[3 * i + 2]!;
  for (let row = 0; row < 2; row++) {
    const a = byPoint[6 * i + 3 * row]!, b = byPoint[6 * i + 3 * row + 1]!, c = byPoint[6 * i + 3 * row + 2]!;
    const o = at + row * stride;
    // -[a b c] skew(arm)
    out[o] = c * y - b * z;
    out[o + 1] = a * z - c * x;
    out[o + 2] = b * x - a * y;
    out[o + 3] = a, out[o + 4] = b, out[o + 5] = c;
  }
}

/** px by head-frame point, [2, 3] of landmark i. */
export function byHeadPoint(byPoint: Float64Array, r: Mat3, i: number): number[] {
  const out: number[] = [];
  for (let row = 0; row < 2; row++)
    for (let j = 0; j < 3; j++) {
      const k = 6 * i + 3 * row;
      out.push(byPoint[k]! * r[j]! + byPoint[k + 1]! * r[3 + j]! + byPoint[k + 2]! * r[6 + j]!);
    }
  return out;
}

export interface SolveOptions {
  steps: number;
  /** Hold the state near the one it starts from. */
  near?: boolean;
  prior?: Prior;
}

/** The state that explains `observed` [N, 2] (px from the principal point), from `start` on. */
export function solveFrame(model: Model, face: Face, observed: Float64Array, focal: number, start: State, options: SolveOptions): State {
  let state = start;
  for (let i = 0; i < options.steps; i++) {
    const move = step(model, face, options.prior ?? model.prior, observed, focal, state, options.near ? start : null);
    const before = state.code;
    state = moved(model, state, move);
    const change = state.code.reduce((most, value, k) => Math.max(most, Math.abs(value - before[k]!)), 0);
    if (change < model.constants.settled && Math.max(...move.subarray(0, 3).map(Math.abs)) < 2e-3) break;
  }
  return state;
}

function step(model: Model, face: Face, prior: Prior, observed: Float64Array, focal: number, state: State, before: State | null): Float64Array {
  const { count, codes, squared } = face;
  const width = POSE + codes;
  const { arm, residual, byPoint } = project(face, observed, focal, state);
  const { points, gaps } = frameWeights(model, face, observed, residual, focal, state);
  const jacobian = new Float64Array(2 * count * width);
  const slope = new Float64Array(codes * 3);
  for (let i = 0; i < count; i++) {
    poseColumns(arm, byPoint, i, jacobian, 2 * i * width, width);
    const head = byHeadPoint(byPoint, state.rotation, i);
    for (let axis = 0; axis < 3; axis++) {
      const at = (3 * i + axis) * codes;
      for (let k = 0; k < codes; k++) slope[3 * k + axis] = face.expression[at + k]!;
      squared.forEach((k, s) => (slope[3 * k + axis]! += 2 * state.code[k]! * face.squares[(3 * i + axis) * squared.length + s]!));
    }
    for (let row = 0; row < 2; row++)
      for (let k = 0; k < codes; k++)
        jacobian[(2 * i + row) * width + POSE + k] =
          head[3 * row]! * slope[3 * k]! + head[3 * row + 1]! * slope[3 * k + 1]! + head[3 * row + 2]! * slope[3 * k + 2]!;
  }
  const hessian = new Float64Array(width * width), gradient = new Float64Array(width);
  const add = (values: Float64Array, miss: number, weight: number) => {
    if (weight === 0) return;
    for (let a = 0; a < width; a++) {
      const scaled = weight * values[a]!;
      if (scaled === 0) continue;
      gradient[a]! += scaled * miss;
      for (let b = a, at = a * width + a; b < width; b++, at++) hessian[at] = hessian[at]! + scaled * values[b]!;
    }
  };
  for (let row = 0; row < 2 * count; row++)
    add(jacobian.subarray(row * width, (row + 1) * width), residual[row]!, points[row >> 1]!);
  const difference = new Float64Array(width);
  face.gaps.forEach(([upper, lower], g) => {
    for (let row = 0; row < 2; row++) {
      const a = 2 * upper + row, b = 2 * lower + row;
      for (let k = 0; k < width; k++) difference[k] = jacobian[a * width + k]! - jacobian[b * width + k]!;
      add(difference, residual[a]! - residual[b]!, gaps[g]!);
    }
  });
  mirror(hessian, width);
  addPrior(prior, state.code, hessian, gradient, width);
  if (before) {
    const { near } = model;
    const turn = turnBetween(before.rotation, state.rotation);
    for (let k = 0; k < width; k++) {
      const stiffness = k < 3 ? near.rotation : k < POSE ? near.translation[k - 3]! : near.code;
      const back =
        k < 3 ? turn[k]! : k < POSE ? before.translation[k - 3]! - state.translation[k - 3]! : before.code[k - POSE]! - state.code[k - POSE]!;
      hessian[k * width + k]! += stiffness;
      gradient[k]! += stiffness * back;
    }
  }
  for (let k = 0; k < width; k++) hessian[k * width + k]! *= 1 + model.constants.damping;
  const low = new Float64Array(width).fill(-Infinity), high = new Float64Array(width).fill(Infinity);
  state.code.forEach((value, k) => ((low[POSE + k] = -value), (high[POSE + k] = 1 - value)));
  return boxMinimum(hessian, gradient, low, high, model.constants.pivot_rounds);
}

/** Gradient and a convex curvature of the prior at a code, added where the codes' block begins. */
function addPrior(prior: Prior, code: Float64Array, hessian: Float64Array, gradient: Float64Array, width: number): void {
  const n = code.length;
  const ajar = Math.max(0, code[prior.close]! - code[prior.jaw]!);
  for (let a = 0; a < n; a++) {
    let slope = (prior.l1[a]! * prior.epsilon) / (code[a]! + prior.epsilon), excluded = 0;
    for (let b = 0; b < n; b++) {
      const pair = prior.quadratic[a * n + b]! + prior.exclusion[a * n + b]!;
      excluded += prior.exclusion[a * n + b]!;
      slope += pair * code[b]!;
      hessian[(POSE + a) * width + POSE + b]! += pair;
    }
    hessian[(POSE + a) * width + POSE + a]! += excluded;
    gradient[POSE + a]! -= slope;
  }
  if (ajar <= 0) return;
  const close = POSE + prior.close, jaw = POSE + prior.jaw;
  gradient[close]! -= prior.lips * ajar;
  gradient[jaw]! += prior.lips * ajar;
  hessian[close * width + close]! += prior.lips;
  hessian[jaw * width + jaw]! += prior.lips;
  hessian[close * width + jaw]! -= prior.lips;
  hessian[jaw * width + close]! -= prior.lips;
}

/** min_d 1/2 d'Hd - g'd with low <= d <= high, by pivoting variables in and out of the box's sides. */
export function boxMinimum(h: Float64Array, g: Float64Array, low: Float64Array, high: Float64Array, rounds: number): Float64Array {
  const n = g.length;
  const free = Array.from(g, (slope, i) => !((low[i]! >= 0 && slope <= 0) || (high[i]! <= 0 && slope >= 0)));
  const move = new Float64Array(n);
  for (let round = 0; round < rounds; round++) {
    const inside = free.flatMap((is, i) => (is ? [i] : []));
    const matrix = new Float64Array(inside.length ** 2);
    const target = Float64Array.from(inside, (i) => {
      let sum = g[i]!;
      for (let j = 0; j < n; j++) if (!free[j]) sum -= h[i * n + j]! * move[j]!;
      return sum;
    });
    inside.forEach((i, a) => inside.forEach((j, b) => (matrix[a * inside.length + b] = h[i * n + j]!)));
    solve(matrix, target, inside.length).forEach((value, a) => (move[inside[a]!] = value));
    let changed = false;
    const next = free.map((is, i) => {
      if (is) {
        const out = move[i]! < low[i]! || move[i]! > high[i]!;
        changed ||= out;
        return !out;
      }
      let slope = g[i]!;
      for (let j = 0; j < n; j++) slope -= h[i * n + j]! * move[j]!;
      const back = (move[i]! <= low[i]! && slope > 1e-9) || (move[i]! >= high[i]! && slope < -1e-9);
      changed ||= back;
      return back;
    });
    if (!changed) break;
    move.forEach((value, i) => (move[i] = clamp(value, low[i]!, high[i]!)));
    next.forEach((is, i) => (free[i] = is));
  }
  return move.map((value, i) => clamp(value, low[i]!, high[i]!));
}

function moved(model: Model, state: State, move: Float64Array): State {
  const length = Math.max(Math.hypot(move[0]!, move[1]!, move[2]!), 1e-9);
  const share = Math.min(1, model.constants.max_turn / length);
  const [x, y, z] = state.translation;
  return {
    rotation: matMul3(rotationMatrix(share * move[0]!, share * move[1]!, share * move[2]!), state.rotation),
    // A head never passes through the lens, whatever one frame claims.
    translation: [x + move[3]!, y + move[4]!, Math.max(z + move[5]!, 0.25 * z)],
    code: state.code.map((value, k) => clamp(value + move[POSE + k]!, 0, 1)),
  };
}

/** Weak perspective on the points that hardly move, with a code of zeros. */
export function firstState(face: Face, observed: Float64Array, focal: number): State {
  const normal = new Float64Array(16), right = new Float64Array(8);
  for (const row of face.rigidRows) {
    const p = [face.neutral[3 * row]!, face.neutral[3 * row + 1]!, face.neutral[3 * row + 2]!, 1];
    for (let a = 0; a < 4; a++) {
      for (let b = 0; b < 4; b++) normal[4 * a + b]! += p[a]! * p[b]!;
      right[2 * a]! += p[a]! * observed[2 * row]!;
      right[2 * a + 1]! += p[a]! * observed[2 * row + 1]!;
    }
  }
  const affine = solve(normal, right, 4, 2); // [4, 2]
  const axes = [0, 1].map((c) => [affine[c]!, affine[2 + c]!, affine[4 + c]!]);
  const lengths = axes.map((axis) => Math.hypot(...axis));
  const depth = focal / Math.max((lengths[0]! + lengths[1]!) / 2, 1e-9);
  const [u, v] = axes.map((axis, c) => axis.map((value) => value / Math.max(lengths[c]!, 1e-9))) as [number[], number[]];
  const cross = [u[1]! * v[2]! - u[2]! * v[1]!, u[2]! * v[0]! - u[0]! * v[2]!, u[0]! * v[1]! - u[1]! * v[0]!];
  return {
    rotation: nearestRotation(Float64Array.from([...u, ...v, ...cross])),
    translation: [(affine[6]! * depth) / focal, (affine[7]! * depth) / focal, depth],
    code: new Float64Array(face.codes),
  };
}
