// One-Euro filters over codes (avatar3d/animation/smoothing.py).
import type { Code } from '../code.ts';
import { quatConjugate, quatFromVector, quatMultiply, quatToVector, type Quat } from '../math.ts';
import { clamp } from './linear.ts';
import type { Model } from './model.ts';

/** A low pass whose cutoff rises with the speed of the signal. */
class OneEuro {
  private value: Float64Array | null = null;
  private raw: Float64Array;
  private speed: Float64Array;

  /** `cutoffs` [N, 2]: Hz at rest, Hz a unit a second. */
  constructor(private readonly cutoffs: ArrayLike<number>, private readonly speedHz: number) {
    this.raw = new Float64Array(cutoffs.length / 2);
    this.speed = new Float64Array(cutoffs.length / 2);
  }

  next(value: ArrayLike<number>, stepS: number): Float64Array {
    const fresh = Float64Array.from(value), old = this.value;
    let smooth = old ?? fresh;
    if (old && stepS > 0)
      smooth = fresh.map((now, i) => {
        const speed = (this.speed[i]! += share(this.speedHz, stepS) * ((now - this.raw[i]!) / stepS - this.speed[i]!));
        // What has just begun counts too: the smoothed speed alone would be late for a blink.
        const quick = Math.max(Math.abs(speed), (0.5 * Math.abs(now - old[i]!)) / stepS);
        return old[i]! + share(this.cutoffs[2 * i]! + this.cutoffs[2 * i + 1]! * quick, stepS) * (now - old[i]!);
      });
    this.value = smooth;
    this.raw = fresh;
    return smooth;
  }

  forget(): void {
    this.value = null;
    this.speed.fill(0);
  }
}

/** How much of the way to the new value a first-order low pass goes in one step. */
function share(cutoffHz: number, stepS: number): number {
  return 1 / (1 + 1 / (2 * Math.PI * cutoffHz * stepS));
}

/** Filters the turn away from the first rotation; heads turn by less than half a turn. */
class TurnFilter {
  private base: Quat | null = null;
  private readonly filter: OneEuro;

  constructor(cutoff: readonly number[], speedHz: number) {
    this.filter = new OneEuro([...cutoff, ...cutoff, ...cutoff], speedHz);
  }

  next(rotation: Quat, stepS: number): Quat {
    this.base ??= rotation;
    const turn = this.filter.next(quatToVector(quatMultiply(quatConjugate(this.base), rotation)), stepS);
    return quatMultiply(this.base, quatFromVector(turn[0]!, turn[1]!, turn[2]!));
  }

  forget(): void {
    this.base = null;
    this.filter.forget();
  }
}

export class CodeSmoother {
  private readonly coefficients: OneEuro;
  private readonly place: OneEuro;
  private readonly head: TurnFilter;
  private readonly neck: TurnFilter;

  constructor({ coefficients, turn, place, speedHz }: Model['smoothing']) {
    this.coefficients = new OneEuro(coefficients, speedHz);
    this.place = new OneEuro([...place, ...place, ...place], speedHz);
    this.head = new TurnFilter(turn, speedHz);
    this.neck = new TurnFilter(turn, speedHz);
  }

  next(code: Code, stepS: number): Code {
    const place = this.place.next(code.translation, stepS);
    return {
      coefficients: Float32Array.from(this.coefficients.next(code.coefficients, stepS), (value) => clamp(value, 0, 1)),
      head: this.head.next(code.head, stepS),
      translation: [place[0]!, place[1]!, place[2]!],
      neck: this.neck.next(code.neck, stepS),
    };
  }

  forget(): void {
    for (const filter of [this.coefficients, this.place, this.head, this.neck]) filter.forget();
  }
}
