// The user's own neutral from a few frames of a face at rest (recon/track/neutral.py).
import { clamp, mirror, solve } from './linear.ts';
import type { Face, Model, Prior } from './model.ts';
import { byHeadPoint, firstState, frameWeights, poseColumns, project, solveFrame, type State } from './solver.ts';

/** `model.face` with the neutral of the person in `frames` ([N, 2] px from the principal point each). */
export function personAtRest(model: Model, frames: Float64Array[], focal: number): Face {
  const { face, constants: c } = model;
  const still = scaled(model.prior, 1e3); // so dear that the code stays at rest
  const atRest = (state: State): State => ({ ...state, code: new Float64Array(face.codes) });
  let weights = new Float64Array(face.modes);
  let person = face;
  let states = frames.map((px) => firstState(person, px, focal));
  for (let round = 0; round < c.calibration_rounds; round++) {
    states = states.map((state, i) => atRest(solveFrame(model, person, frames[i]!, focal, state, { steps: 2, prior: still })));
    weights = identityStep(model, person, frames, focal, states, weights);
    person = ofPerson(face, weights);
  }
  states = states.map((state, i) => atRest(solveFrame(model, person, frames[i]!, focal, state, { steps: 3, prior: still })));
  return { ...person, neutral: withOffsets(model, person, frames, focal, states) };
}

function ofPerson(face: Face, weights: Float64Array): Face {
  const neutral = face.neutral.map((value, i) => {
    let sum = value;
    for (let m = 0; m < face.modes; m++) sum += face.identity[i * face.modes + m]! * weights[m]!;
    return sum;
  });
  return { ...face, neutral };
}

/** One Gauss-Newton step of the identity modes, the frames' poses eliminated. */
function identityStep(
  model: Model, person: Face, frames: Float64Array[], focal: number, states: State[], weights: Float64Array,
): Float64Array<ArrayBuffer> {
  const modes = person.modes, wide = modes + 1;
  const hessian = new Float64Array(modes * modes), gradient = new Float64Array(modes);
  for (let m = 0; m < modes; m++) {
    hessian[m * modes + m] = model.constants.identity_weight;
    gradient[m] = -model.constants.identity_weight * weights[m]!;
  }
  frames.forEach((px, f) => {
    const state = states[f]!;
    const { arm, residual, byPoint } = project(person, px, focal, state);
    const trust = frameWeights(model, person, px, residual, focal, state).points;
    const own = new Float64Array(36), cross = new Float64Array(6 * wide); // [6, modes | residual]
    const pose = new Float64Array(12), mode = new Float64Array(modes);
    for (let k = 0; k < 6; k++) own[7 * k] = 1e-9;
    for (let i = 0; i < person.count; i++) {
      poseColumns(arm, byPoint, i, pose, 0, 6);
      const head = byHeadPoint(byPoint, state.rotation, i);
      for (let row = 0; row < 2; row++) {
        const miss = residual[2 * i + row]!, w = trust[i]!;
        for (let m = 0; m < modes; m++)
          mode[m] =
            head[3 * row]! * person.identity[3 * i * modes + m]! +
            head[3 * row + 1]! * person.identity[(3 * i + 1) * modes + m]! +
            head[3 * row + 2]! * person.identity[(3 * i + 2) * modes + m]!;
        for (let a = 0; a < 6; a++) {
          const scaled = w * pose[6 * row + a]!;
          for (let b = 0; b < 6; b++) own[6 * a + b]! += scaled * pose[6 * row + b]!;
          for (let m = 0; m < modes; m++) cross[a * wide + m]! += scaled * mode[m]!;
          cross[a * wide + modes]! += scaled * miss;
        }
        for (let a = 0; a < modes; a++) {
          const scaled = w * mode[a]!;
          gradient[a]! += scaled * miss;
          for (let b = a; b < modes; b++) hessian[a * modes + b]! += scaled * mode[b]!;
        }
      }
    }
    const pulled = solve(own, cross.slice(), 6, wide);
    for (let a = 0; a < modes; a++)
      for (let k = 0; k < 6; k++) {
        const c = cross[k * wide + a]!;
        for (let b = a; b < modes; b++) hessian[a * modes + b]! -= c * pulled[k * wide + b]!;
        gradient[a]! -= c * pulled[k * wide + modes]!;
      }
  });
  mirror(hessian, modes);
  const move = solve(hessian, gradient, modes);
  return Float64Array.from(weights, (value, m) => value + clamp(move[m]!, -1, 1));
}

/** The neutral with what is left of every landmark in the mean over the frames, ridge solution. */
function withOffsets(model: Model, person: Face, frames: Float64Array[], focal: number, states: State[]): Float64Array {
  const { offset_sigma_m: sigma, shrink_frames: shrink } = model.constants;
  const systems = new Float64Array(9 * person.count), targets = new Float64Array(3 * person.count);
  for (let i = 0; i < person.count; i++) for (let k = 0; k < 3; k++) systems[9 * i + 4 * k] = 1 / sigma ** 2;
  frames.forEach((px, f) => {
    const state = states[f]!;
    const { residual, byPoint } = project(person, px, focal, state);
    const { points } = frameWeights(model, person, px, residual, focal, state);
    for (let i = 0; i < person.count; i++) {
      const head = byHeadPoint(byPoint, state.rotation, i);
      const w = points[i]! / person.weights[i]!;
      for (let row = 0; row < 2; row++)
        for (let a = 0; a < 3; a++) {
          targets[3 * i + a]! += w * head[3 * row + a]! * residual[2 * i + row]!;
          for (let b = 0; b < 3; b++) systems[9 * i + 3 * a + b]! += w * head[3 * row + a]! * head[3 * row + b]!;
        }
    }
  });
  const share = frames.length / (frames.length + shrink);
  const neutral = person.neutral.slice();
  for (let i = 0; i < person.count; i++)
    solve(systems.slice(9 * i, 9 * i + 9), targets.slice(3 * i, 3 * i + 3), 3).forEach((value, k) => (neutral[3 * i + k]! += share * value));
  return neutral;
}

function scaled(prior: Prior, factor: number): Prior {
  const times = (values: Float64Array) => values.map((value) => factor * value);
  return { ...prior, l1: times(prior.l1), quadratic: times(prior.quadratic), exclusion: times(prior.exclusion), lips: factor * prior.lips };
}
