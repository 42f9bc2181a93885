// What a face does besides the words: blinks, gaze shifts, raised brows, a head that sways
// (avatar3d/audio/behaviour.py, which says why; number by number the same).
import { ARKIT_NAMES } from '../names.ts';
import { FRAME_S } from './stream.ts';

const BLINKS_PER_MINUTE = 20, BLINK_SPREAD = 0.5, SHORTEST_PAUSE_S = 0.5;
const BLINK_CLOSE_S = 0.08, BLINK_OPEN_S = 0.14, BLINKS_AT_PAUSES = 2.5;
const GAZE_STAYS_S = 1.6, GAZE_SPREAD = [0.1, 0.05] as const, GAZE_MOVES_S = 0.05, GAZE_HOME = 0.55;
const BROW_MEAN_PAUSE_S = 3.5, BROW_RISE_S = 0.12, BROW_FALL_S = 0.45, BROW_AMOUNT = 0.28;
const SWAY = [0.028, 0.03, 0.018] as const, SWAY_HZ = [0.32, 0.22, 0.25] as const; // pitch, yaw, roll
const SWAY_IN_PAUSE = 0.45, NOD = 0.045;
const at = (...names: string[]) => names.map((name) => ARKIT_NAMES.indexOf(name as (typeof ARKIT_NAMES)[number]));
const BLINK = at('eyeBlinkLeft', 'eyeBlinkRight');
const ASIDE = [at('eyeLookOutLeft', 'eyeLookInRight'), at('eyeLookInLeft', 'eyeLookOutRight')] as const;
const UP = [at('eyeLookUpLeft', 'eyeLookUpRight'), at('eyeLookDownLeft', 'eyeLookDownRight')] as const;
const INNER = at('browInnerUp'), OUTER = at('browOuterUpLeft', 'browOuterUpRight');

/** Seeded numbers by mulberry32 (Ettinger 2017). */
class Numbers {
  constructor(private state: number) {}

  /** In [0, 1). */
  uniform(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), 1 | t);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Of variance 1 (Box and Muller 1958). */
  normal(): number {
    const length = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return length * Math.cos(2 * Math.PI * this.uniform());
  }
}

/** What is added to the codes of a voice in one frame. */
export interface Extras {
  coefficients: Float32Array; // [52]
  turn: [number, number, number]; // rotation vector of the head: pitch, yaw, roll; radians
}

/** One performer; the same seed and the same voice give the same performance. */
export class Behaviour {
  private readonly numbers: Numbers;
  private readonly meanPauseS = 60 / BLINKS_PER_MINUTE;
  private blinkAt: number;
  private sinceBlink = BLINK_CLOSE_S + BLINK_OPEN_S;
  private gaze = [0, 0];
  private target = [0, 0];
  private gazeLeft = 0.8;
  private sinceAccent = 10;
  private accentLeft = 1.5;
  private speaking = 0;
  private readonly position = [0, 0, 0];
  private readonly speed = [0, 0, 0];

  /** seed: 0 to 2^32 - 1. */
  constructor(seed = 0) {
    this.numbers = new Numbers(seed);
    this.blinkAt = this.pause(this.numbers.normal());
  }

  /** The next frame, FRAME_S after the last; `energy` 0..1: how much is being said. */
  step(energy: number): Extras {
    const before = this.speaking;
    this.speaking += 0.15 * (energy - before);
    const stopping = before > 0.5 && this.speaking <= 0.5;
    // The same count of numbers in every frame, whatever happens in it.
    const uniform = [0, 0, 0, 0].map(() => this.numbers.uniform());
    const normal = [0, 0, 0, 0, 0, 0].map(() => this.numbers.normal());
    const coefficients = new Float32Array(ARKIT_NAMES.length);
    const set = (indices: number[], value: number) => indices.forEach((index) => (coefficients[index] = value));
    set(BLINK, this.blink(stopping, uniform[0]!, normal[0]!));
    const [side, up] = this.look(uniform[1]!, uniform[2]!, [normal[1]!, normal[2]!]);
    ASIDE.forEach((indices, back) => set(indices, Math.max(back ? -side : side, 0)));
    UP.forEach((indices, down) => set(indices, Math.max(down ? -up : up, 0)));
    const accent = this.raiseBrows(uniform[3]!);
    set(INNER, BROW_AMOUNT * accent);
    set(OUTER, 0.7 * BROW_AMOUNT * accent);
    return { coefficients, turn: this.sway(normal.slice(3), accent) };
  }

  private blink(stopping: boolean, chance: number, spread: number): number {
    this.sinceBlink += FRAME_S;
    let due = this.blinkAt - this.sinceBlink;
    if (stopping && due < this.meanPauseS && chance < 1 - 1 / BLINKS_AT_PAUSES) due = 0;
    if (due <= 0) {
      this.sinceBlink = 0;
      this.blinkAt = this.pause(spread);
    }
    return rise(this.sinceBlink, BLINK_CLOSE_S, BLINK_OPEN_S);
  }

  private pause(spread: number): number {
    return Math.max(SHORTEST_PAUSE_S, this.meanPauseS * Math.exp(BLINK_SPREAD * spread - BLINK_SPREAD ** 2 / 2));
  }

  private look(chance: number, home: number, where: number[]): [number, number] {
    this.gazeLeft -= FRAME_S;
    if (this.gazeLeft <= 0) {
      this.gazeLeft = 0.25 - GAZE_STAYS_S * Math.log(Math.max(chance, 1e-6));
      this.target = where.map((one, axis) => (home < GAZE_HOME ? 0 : Math.min(2, Math.max(-2, one)) * GAZE_SPREAD[axis]!));
    }
    const share = Math.min(1, FRAME_S / GAZE_MOVES_S);
    this.gaze = this.gaze.map((one, axis) => one + (this.target[axis]! - one) * share);
    return this.gaze as [number, number];
  }

  private raiseBrows(chance: number): number {
    this.sinceAccent += FRAME_S;
    this.accentLeft -= FRAME_S * this.speaking; // the clock runs while somebody speaks
    if (this.accentLeft <= 0) {
      this.accentLeft = 0.8 - (BROW_MEAN_PAUSE_S - 0.8) * Math.log(Math.max(chance, 1e-6));
      this.sinceAccent = 0;
    }
    return rise(this.sinceAccent, BROW_RISE_S, BROW_FALL_S);
  }

  /** A damped oscillator that noise keeps moving; its spread does not depend on the rate. */
  private sway(push: number[], accent: number): Extras['turn'] {
    const { position, speed } = this;
    const amount = SWAY_IN_PAUSE + (1 - SWAY_IN_PAUSE) * this.speaking;
    const turn = push.map((one, axis) => {
      const pace = 2 * Math.PI * SWAY_HZ[axis]!, damping = 1.4 * pace;
      const force = SWAY[axis]! * Math.sqrt(2 * damping) * pace;
      speed[axis]! += FRAME_S * (-(pace ** 2) * position[axis]! - damping * speed[axis]!) + force * Math.sqrt(FRAME_S) * one;
      position[axis]! += FRAME_S * speed[axis]!;
      return amount * position[axis]!;
    });
    turn[0]! += NOD * accent;
    return turn as Extras['turn'];
  }
}

/** 0 to 1 in `upS`, back in `downS`, smooth at the ends. */
function rise(since: number, upS: number, downS: number): number {
  return since < upS ? smooth(since / upS) : smooth(1 - (since - upS) / downS);
}

function smooth(position: number): number {
  const x = Math.min(1, Math.max(0, position));
  return x * x * (3 - 2 * x);
}
