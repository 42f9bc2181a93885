// Rotations and matrices. Quaternions are wxyz and unit; matrices are 4x4, column by column as
// WebGL wants them.
export type Vec3 = readonly [number, number, number];
export type Quat = readonly [number, number, number, number];
export type Mat4 = Float32Array | Float64Array | readonly number[];

export const IDENTITY_QUAT: Quat = [1, 0, 0, 0];

export function quatMultiply(a: Quat, b: Quat): Quat {
  return [
    a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
    a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
    a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
    a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
  ];
}

export const quatConjugate = (q: Quat): Quat => [q[0], -q[1], -q[2], -q[3]];

export function quatNormalize(q: Quat): Quat {
  const length = Math.hypot(...q);
  return length > 1e-9 ? [q[0] / length, q[1] / length, q[2] / length, q[3] / length] : IDENTITY_QUAT;
}

/** Exponential map: a rotation vector in radians to a quaternion. */
export function quatFromVector(x: number, y: number, z: number): Quat {
  const angle = Math.hypot(x, y, z);
  const sinc = angle < 1e-4 ? 0.5 - (angle * angle) / 48 : Math.sin(angle / 2) / angle;
  return [Math.cos(angle / 2), x * sinc, y * sinc, z * sinc];
}

/** The shortest rotation vector of a quaternion. */
export function quatToVector(q: Quat): Vec3 {
  const sign = q[0] < 0 ? -1 : 1;
  const sine = Math.hypot(q[1], q[2], q[3]);
  const scale = sine < 1e-9 ? 2 : (2 * Math.atan2(sine, sign * q[0])) / sine;
  return [sign * q[1] * scale, sign * q[2] * scale, sign * q[3] * scale];
}

/** A fraction of a rotation. */
export function quatPower(q: Quat, exponent: number): Quat {
  const [x, y, z] = quatToVector(q);
  return quatFromVector(exponent * x, exponent * y, exponent * z);
}

/** From `a` (0) to `b` (1) along the shortest arc. */
export function slerp(a: Quat, b: Quat, weight: number): Quat {
  return quatMultiply(a, quatPower(quatMultiply(quatConjugate(a), b), weight));
}

/** R = R_y(yaw) R_x(pitch) R_z(roll): the angles of Live Link Face, radians. */
export function quatFromAngles(yaw: number, pitch: number, roll: number): Quat {
  return quatMultiply(
    quatMultiply(quatFromVector(0, yaw, 0), quatFromVector(pitch, 0, 0)),
    quatFromVector(0, 0, roll),
  );
}

export function quatToAngles(q: Quat): Vec3 {
  const m = quatToRows(q);
  return [
    Math.atan2(m[2]!, m[8]!),
    Math.asin(Math.min(1, Math.max(-1, -m[5]!))),
    Math.atan2(m[3]!, m[4]!),
  ];
}

/** Rotation matrix, row by row, 9 numbers. */
export function quatToRows([w, x, y, z]: Quat): number[] {
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}

/** Of a rotation matrix, row by row. */
export function quatFromRows(m: ArrayLike<number>): Quat {
  const [a, b, c] = [m[0]!, m[4]!, m[8]!];
  const trace = a + b + c;
  // From the largest of the four components, which no rounding can spoil.
  if (trace >= Math.max(a, b, c)) return quatNormalize([1 + trace, m[7]! - m[5]!, m[2]! - m[6]!, m[3]! - m[1]!]);
  if (a >= b && a >= c) return quatNormalize([m[7]! - m[5]!, 1 + a - b - c, m[1]! + m[3]!, m[2]! + m[6]!]);
  if (b >= c) return quatNormalize([m[2]! - m[6]!, m[1]! + m[3]!, 1 - a + b - c, m[5]! + m[7]!]);
  return quatNormalize([m[3]! - m[1]!, m[2]! + m[6]!, m[5]! + m[7]!, 1 - a - b + c]);
}

export function multiply(a: Mat4, b: Mat4): Float32Array {
  const out = new Float32Array(16);
  for (let column = 0; column < 4; column++)
    for (let row = 0; row < 4; row++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += a[4 * k + row]! * b[4 * column + k]!;
      out[4 * column + row] = sum;
    }
  return out;
}

/** Inverse of rotation, uniform scale and translation. */
export function inverseRigid(m: Mat4): Float32Array {
  const out = new Float32Array(16);
  const square = m[0]! ** 2 + m[1]! ** 2 + m[2]! ** 2;
  for (let row = 0; row < 3; row++)
    for (let column = 0; column < 3; column++) out[4 * column + row] = m[4 * row + column]! / square;
  for (let row = 0; row < 3; row++)
    out[12 + row] = -(out[row]! * m[12]! + out[4 + row]! * m[13]! + out[8 + row]! * m[14]!);
  out[15] = 1;
  return out;
}

export function lookAt(eye: Vec3, target: Vec3): Float32Array {
  const z = normalize3(eye[0] - target[0], eye[1] - target[1], eye[2] - target[2]);
  const x = normalize3(z[2], 0, -z[0]); // +Y up
  const y: Vec3 = [z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]];
  const dot = (a: Vec3) => -(a[0] * eye[0] + a[1] * eye[1] + a[2] * eye[2]);
  return new Float32Array([
    x[0], y[0], z[0], 0, x[1], y[1], z[1], 0, x[2], y[2], z[2], 0, dot(x), dot(y), dot(z), 1,
  ]);
}

/** Perspective of a pinhole: half extents of the picture at depth 1. */
export function perspective(halfWidth: number, halfHeight: number, near: number, far: number): Float32Array {
  const m = new Float32Array(16);
  m[0] = 1 / halfWidth;
  m[5] = 1 / halfHeight;
  m[10] = (far + near) / (near - far);
  m[11] = -1;
  m[14] = (2 * far * near) / (near - far);
  return m;
}

function normalize3(x: number, y: number, z: number): Vec3 {
  const length = Math.hypot(x, y, z) || 1;
  return [x / length, y / length, z / length];
}
