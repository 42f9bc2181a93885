// Expression codes: what every driver emits (avatar3d/codes.py).
import { ARKIT_NAMES } from './names.ts';
import { IDENTITY_QUAT, quatNormalize, slerp, type Quat, type Vec3 } from './math.ts';

export interface Pose {
  head: Quat; // x_world = R x_head + t
  translation: Vec3; // metres
  neck: Quat; // the skull relative to the bust
}

export interface Code extends Pose {
  coefficients: Float32Array; // [E] in 0..1, the 52 of ARKit first
}

export type Expression = Partial<Record<(typeof ARKIT_NAMES)[number], number>> | ArrayLike<number>;

const INDEX = new Map<string, number>(ARKIT_NAMES.map((name, index) => [name, index]));

export function neutralCode(count: number = ARKIT_NAMES.length): Code {
  return {
    coefficients: new Float32Array(count),
    head: IDENTITY_QUAT,
    translation: [0, 0, 0],
    neck: IDENTITY_QUAT,
  };
}

/** Write an expression into coefficients: by name what is named, or all from the first on. */
export function setExpression(coefficients: Float32Array, expression: Expression): void {
  const put = (index: number, value: number) => {
    if (!Number.isFinite(value)) throw new RangeError(`a coefficient is ${value}, expected 0 to 1`);
    coefficients[index] = Math.min(1, Math.max(0, value));
  };
  if ('length' in expression && typeof expression.length === 'number') {
    const values = expression as ArrayLike<number>;
    for (let i = 0; i < Math.min(values.length, coefficients.length); i++) put(i, values[i]!);
    return;
  }
  for (const [name, value] of Object.entries(expression)) {
    const index = INDEX.get(name);
    if (index === undefined) throw new RangeError(`there is no coefficient ${JSON.stringify(name)}`);
    put(index, value as number);
  }
}

export function copyCode(code: Code): Code {
  return { ...code, coefficients: code.coefficients.slice() };
}

/** Codes between two: linear, rotations along the shortest arc. */
export function interpolate(a: Code, b: Code, weight: number): Code {
  const mix = (x: number, y: number) => x + weight * (y - x);
  return {
    coefficients: a.coefficients.map((value, i) => mix(value, b.coefficients[i] ?? 0)),
    head: quatNormalize(slerp(a.head, b.head, weight)),
    translation: [
      mix(a.translation[0], b.translation[0]),
      mix(a.translation[1], b.translation[1]),
      mix(a.translation[2], b.translation[2]),
    ],
    neck: quatNormalize(slerp(a.neck, b.neck, weight)),
  };
}
