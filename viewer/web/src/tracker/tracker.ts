// Landmarks in, codes out, one frame after the other: recon/track/live.py's LiveSolver.
import { copyCode, interpolate, neutralCode, type Code } from '../code.ts';
import { quatFromRows, type Vec3 } from '../math.ts';
import { ARKIT_NAMES } from '../names.ts';
import { Bust } from './bust.ts';
import { clamp } from './linear.ts';
import { POINTS, type Face, type Model } from './model.ts';
import { personAtRest } from './neutral.ts';
import { CodeSmoother } from './smoothing.ts';
import { firstState, project, solveFrame, viewOf, type State } from './solver.ts';

export type TrackerStatus = 'searching' | 'calibrating' | 'tracked' | 'side' | 'lost';

export interface TrackerFrame {
  code: Code;
  status: TrackerStatus;
}

export interface TrackerOptions {
  /** How long the user looks at the camera, face at rest, before codes are relative to that face. */
  calibrationS?: number;
  /** Of the camera, if it is known; else guessed from the size of the face. */
  focalPx?: number;
}

const BLINKS = [ARKIT_NAMES.indexOf('eyeBlinkLeft'), ARKIT_NAMES.indexOf('eyeBlinkRight')];
const STIRRING = [ARKIT_NAMES.indexOf('jawOpen'), ...BLINKS]; // what moves in a face that is told to rest

export class FaceTracker {
  private readonly rest: Code;
  private readonly smoother: CodeSmoother;
  private readonly calibrationS: number;
  private face!: Face;
  private collected!: { px: Float64Array; stir: number }[];
  private calibrated!: boolean;
  private seenS!: number;
  private focal!: number | null;
  private current!: State | null;
  private bust!: Bust | null;
  private restPlace!: Vec3 | null;
  private shown!: Code;
  private blendFrom!: Code;
  private blendLeftS!: number;
  private timeS!: number | null;
  private lostS!: number;

  constructor(private readonly model: Model, private readonly options: TrackerOptions = {}) {
    this.rest = neutralCode(model.names.length);
    this.smoother = new CodeSmoother(model.smoothing);
    this.calibrationS = options.calibrationS ?? model.constants.calibration_s;
    this.recalibrate();
  }

  /** Learn the user's neutral from the frames that come now. */
  recalibrate(): void {
    this.face = this.model.face;
    this.collected = [];
    this.calibrated = this.calibrationS <= 0;
    this.seenS = 0;
    this.focal = null;
    this.current = null;
    this.bust = null;
    this.restPlace = null;
    this.shown = this.blendFrom = this.rest;
    this.blendLeftS = 0;
    this.timeS = null;
    this.lostS = Infinity;
    this.smoother.forget();
  }

  /** Pose and unsmoothed code of the last frame with a face. */
  get state(): State | null {
    return this.current;
  }

  /** The next frame: 478 pairs x, y in px of a picture [width, height], or null without a face. */
  update(landmarks: ArrayLike<number> | null, size: readonly [number, number], timeS: number): TrackerFrame {
    const { constants: c } = this.model;
    const stepS = this.timeS === null ? 0 : Math.max(timeS - this.timeS, 1e-3);
    this.timeS = timeS;
    if (!landmarks || landmarks.length !== 2 * POINTS || !Array.prototype.every.call(landmarks, Number.isFinite))
      return this.withoutFace(stepS);
    const point = (i: number): [number, number] => [landmarks[2 * i]! - size[0] / 2, landmarks[2 * i + 1]! - size[1] / 2];
    const observed = Float64Array.from(this.face.landmarks.flatMap(point));
    const [right, left] = this.model.irisCentres.map(point) as [[number, number], [number, number]];
    const pupilsPx = Math.hypot(right[0] - left[0], right[1] - left[1]);
    const first = this.focal === null;
    this.focal ??= this.options.focalPx ?? this.likelyFocal(pupilsPx, Math.max(...size));
    this.solve(observed, pupilsPx, this.focal);
    let status = this.calibrate(observed, stepS, this.focal);
    let code = this.worldCode();
    const beyond = clamp((this.turn() - c.side_from_rad) / (c.side_to_rad - c.side_from_rad), 0, 1);
    if (beyond > 0) {
      // A face seen from the side still has a direction.
      code = interpolate(code, { ...code, coefficients: this.rest.coefficients }, beyond);
      status = 'side';
    }
    if (this.lostS > c.hold_s && !first) this.beginBlend();
    this.lostS = 0;
    return { code: this.show(code, stepS), status };
  }

  private solve(observed: Float64Array, pupilsPx: number, focal: number): void {
    const { model, face } = this;
    const { hold_s: hold, broken, steps } = model.constants;
    let error = Infinity;
    if (this.current && this.lostS <= hold) {
      this.current = solveFrame(model, face, observed, focal, this.current, { steps, near: true });
      error = this.miss(observed, pupilsPx, focal, this.current);
    }
    if (error > broken) this.current = solveFrame(model, face, observed, focal, firstState(face, observed, focal), { steps: 8 });
  }

  /** The mean miss over the distance between the pupils. */
  private miss(observed: Float64Array, pupilsPx: number, focal: number, state: State): number {
    const { residual } = project(this.face, observed, focal, state);
    // Turned away, pupils come near each other: the face's own size then says more.
    const apart = Math.max(pupilsPx, (0.5 * this.model.constants.pupils_m * focal) / state.translation[2]);
    let sum = 0;
    for (let i = 0; i < this.face.count; i++) sum += Math.hypot(residual[2 * i]!, residual[2 * i + 1]!);
    return sum / this.face.count / apart;
  }

  private calibrate(observed: Float64Array, stepS: number, focal: number): TrackerStatus {
    if (this.calibrated) return 'tracked';
    const { model, collected } = this;
    this.seenS += stepS;
    const stir = STIRRING.reduce((sum, index) => sum + this.current!.code[index]!, 0);
    if (this.turn() < model.constants.calibration_turn_rad) collected.push({ px: observed, stir });
    // A slow machine sees few frames in that time: a word of a second would be most of them.
    if (this.seenS < this.calibrationS || collected.length < model.constants.calibration_frames) return 'calibrating';
    // Who speaks or blinks meanwhile would have an open mouth or narrow eyes as neutral.
    // Against the third stillest: one frame, or two, may be measured wrongly.
    const still = collected.map((frame) => frame.stir).sort((a, b) => a - b)[2]!;
    const most = still + model.constants.calibration_stir;
    const usable = collected.filter((frame) => frame.stir <= most);
    const count = Math.min(model.constants.calibration_frames, usable.length);
    const spread = (i: number) => (count > 1 ? roundHalfEven((i * (usable.length - 1)) / (count - 1)) : 0);
    const frames = Array.from({ length: count }, (_, i) => usable[spread(i)]!.px);
    this.face = personAtRest(model, frames, focal);
    this.collected = [];
    this.calibrated = true;
    this.current = solveFrame(model, this.face, observed, focal, this.current!, { steps: 6 });
    this.restPlace = null; // the place and turn that count as none
    this.bust = null;
    this.beginBlend();
    return 'tracked';
  }

  private worldCode(): Code {
    const { rotation: r, translation: t, code } = this.current!;
    const at = (this.restPlace ??= t);
    // Camera axes to the head's: y and z turn round.
    const head = quatFromRows([r[0]!, r[1]!, r[2]!, -r[3]!, -r[4]!, -r[5]!, -r[6]!, -r[7]!, -r[8]!]);
    const translation: Vec3 = [t[0] - at[0], at[1] - t[1], at[2] - t[2]];
    this.bust ??= new Bust(this.model, head, translation);
    return { coefficients: this.closeFully(code), head, translation, neck: this.bust.neckOf(head, translation) };
  }

  /** The code with blinks that are nearly shut shut. */
  private closeFully(code: Float64Array): Float32Array {
    const { blink_from: from, blink_shut: shut } = this.model.constants;
    const closed = Float32Array.from(code);
    for (const index of BLINKS) {
      const blink = code[index]!;
      closed[index] = Math.min(1, Math.min(blink, from) + (Math.max(0, blink - from) * (1 - from)) / (shut - from));
    }
    return closed;
  }

  private withoutFace(stepS: number): TrackerFrame {
    const { hold_s: hold, fade_s: fade } = this.model.constants;
    const known = this.lostS !== Infinity;
    if (known) this.lostS += stepS;
    if (known && this.lostS > hold) {
      this.shown = interpolate(this.shown, this.rest, 1 - Math.exp(-stepS / fade));
      this.smoother.forget();
      this.blendLeftS = 0;
    }
    return { code: copyCode(this.shown), status: known ? 'lost' : 'searching' };
  }

  private beginBlend(): void {
    this.blendFrom = this.shown;
    this.blendLeftS = this.model.constants.blend_s;
    this.smoother.forget();
  }

  private show(code: Code, stepS: number): Code {
    const { longest_step_s: longest, blend_s: blend } = this.model.constants;
    let smooth = this.smoother.next(code, stepS);
    if (this.blendLeftS > 0) {
      // The pause in which nothing was shown is no part of the way.
      this.blendLeftS = Math.max(0, this.blendLeftS - Math.min(stepS, longest));
      const old = this.blendLeftS / blend;
      smooth = interpolate(smooth, this.blendFrom, old * old * (3 - 2 * old));
    }
    this.shown = smooth;
    return copyCode(smooth);
  }

  /** Between the face and the line to the camera, radians. */
  private turn(): number {
    return Math.acos(clamp(viewOf(this.current!)[2], -1, 1));
  }

  /** px: as if the face were at the distance of most users. */
  private likelyFocal(pupilsPx: number, sidePx: number): number {
    const { assumed_distance_m: distance, pupils_m: pupils } = this.model.constants;
    const [low, high] = this.model.focalRange;
    return clamp((distance * pupilsPx) / pupils, low * sidePx, high * sidePx);
  }
}

/** As numpy rounds, so that the same frames are chosen. */
function roundHalfEven(value: number): number {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}
