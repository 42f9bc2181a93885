// Where the shoulders are while only the face is seen (recon/track/bust.py).
import { quatConjugate, quatFromVector, quatMultiply, quatNormalize, quatPower, quatToRows, type Quat, type Vec3 } from '../math.ts';
import type { Model } from './model.ts';

/** The neck's rotation by the head's, once a reference pose is known. */
export class Bust {
  private readonly skull: Vec3;
  private readonly waist: Vec3;
  private readonly upright: Vec3; // waist to skull base at the reference
  private readonly rotation: Quat;

  /** The reference: a usual pose of the head, an upright bust below it. */
  constructor(model: Model, head: Quat, translation: Vec3) {
    const { joints, constants: c } = model;
    const m = quatToRows(head);
    this.skull = joints.head as unknown as Vec3;
    this.rotation = quatFromVector(0, c.reference_yaw_share * Math.atan2(m[2]!, m[8]!), 0);
    // The neck hangs between skull and bust and shares the bend half and half, as the skin does.
    const half = quatPower(this.neck(this.rotation, head), -0.5);
    const down = rotate(quatMultiply(head, half), subtract(joints.neck as unknown as Vec3, this.skull));
    const base = add(this.base(head, translation), down);
    this.waist = [base[0], base[1] - c.waist_below_neck_m, base[2]];
    this.upright = subtract(this.base(head, translation), this.waist);
  }

  neckOf(head: Quat, translation: Vec3): Quat {
    const lean = between(this.upright, subtract(this.base(head, translation), this.waist));
    return this.neck(quatMultiply(lean, this.rotation), head);
  }

  private neck(bust: Quat, head: Quat): Quat {
    return quatMultiply(quatConjugate(bust), head);
  }

  private base(head: Quat, translation: Vec3): Vec3 {
    return add(rotate(head, this.skull), translation);
  }
}

const add = (a: Vec3, b: Vec3): Vec3 => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
const subtract = (a: Vec3, b: Vec3): Vec3 => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];

function rotate(q: Quat, v: Vec3): Vec3 {
  const m = quatToRows(q);
  const row = (i: number) => m[3 * i]! * v[0] + m[3 * i + 1]! * v[1] + m[3 * i + 2]! * v[2];
  return [row(0), row(1), row(2)];
}

/** The shortest rotation from one direction to another. */
function between(a: Vec3, b: Vec3): Quat {
  const lengths = Math.hypot(...a) * Math.hypot(...b) || 1;
  const dot = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) / lengths;
  const cross = (i: number, j: number) => (a[i]! * b[j]! - a[j]! * b[i]!) / lengths;
  return quatNormalize([1 + dot, cross(1, 2), cross(2, 0), cross(0, 1)]);
}
