// The little linear algebra of the tracker: row-major Float64Arrays, 3x3 rotations.

/** Solve A X = B for X [n, columns], which replaces B; A [n, n] is used up. */
export function solve(a: Float64Array, b: Float64Array, n: number, columns = 1): Float64Array {
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(a[i * n + k]!) > Math.abs(a[pivot * n + k]!)) pivot = i;
    if (pivot !== k) {
      for (let j = 0; j < n; j++) swap(a, k * n + j, pivot * n + j);
      for (let j = 0; j < columns; j++) swap(b, k * columns + j, pivot * columns + j);
    }
    const scale = 1 / a[k * n + k]!;
    const row = a.subarray(k * n, (k + 1) * n);
    for (let i = k + 1; i < n; i++) {
      const factor = a[i * n + k]! * scale;
      if (factor === 0) continue;
      for (let j = k + 1, at = i * n + j; j < n; j++, at++) a[at] = a[at]! - factor * row[j]!;
      for (let j = 0; j < columns; j++) b[i * columns + j]! -= factor * b[k * columns + j]!;
    }
  }
  for (let k = n - 1; k >= 0; k--)
    for (let j = 0; j < columns; j++) {
      let sum = b[k * columns + j]!;
      for (let i = k + 1; i < n; i++) sum -= a[k * n + i]! * b[i * columns + j]!;
      b[k * columns + j] = sum / a[k * n + k]!;
    }
  return b;
}

/** Fill the lower triangle from the upper one. */
export function mirror(a: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) a[i * n + j] = a[j * n + i]!;
}

function swap(values: Float64Array, i: number, j: number): void {
  const kept = values[i]!;
  values[i] = values[j]!;
  values[j] = kept;
}

export type Mat3 = Float64Array; // [9]

export function matMul3(a: Mat3, b: Mat3): Mat3 {
  const out = new Float64Array(9);
  for (let i = 0; i < 3; i++)
    for (let j = 0; j < 3; j++)
      for (let k = 0; k < 3; k++) out[3 * i + j]! += a[3 * i + k]! * b[3 * k + j]!;
  return out;
}

/** Rodrigues' formula. */
export function rotationMatrix(x: number, y: number, z: number): Mat3 {
  const square = x * x + y * y + z * z, angle = Math.sqrt(square);
  const a = square < 1e-6 ? 1 - square / 6 : Math.sin(angle) / angle;
  const b = square < 1e-6 ? 0.5 - square / 24 : (1 - Math.cos(angle)) / square;
  return Float64Array.of(
    1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y,
    b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x,
    b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y),
  );
}

/** The logarithm of A B^T, a rotation below half a turn. */
export function turnBetween(a: Mat3, b: Mat3): [number, number, number] {
  const m = (i: number, j: number) => a[3 * i]! * b[3 * j]! + a[3 * i + 1]! * b[3 * j + 1]! + a[3 * i + 2]! * b[3 * j + 2]!;
  const x = 0.5 * (m(2, 1) - m(1, 2)), y = 0.5 * (m(0, 2) - m(2, 0)), z = 0.5 * (m(1, 0) - m(0, 1));
  const sine = Math.hypot(x, y, z);
  const scale = sine < 1e-9 ? 1 : Math.atan2(sine, (m(0, 0) + m(1, 1) + m(2, 2) - 1) / 2) / sine;
  return [x * scale, y * scale, z * scale];
}

/** The rotation next to a matrix of positive determinant: Newton's iteration of the polar factor. */
export function nearestRotation(matrix: Mat3): Mat3 {
  let m = matrix;
  for (let round = 0; round < 30; round++) {
    const c = cofactors(m);
    const determinant = m[0]! * c[0]! + m[1]! * c[1]! + m[2]! * c[2]!;
    if (!(determinant > 1e-12)) return Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1);
    const next = m.map((value, i) => 0.5 * (value + c[i]! / determinant));
    const moved = Math.max(...next.map((value, i) => Math.abs(value - m[i]!)));
    m = next;
    if (moved < 1e-14) break;
  }
  return m;
}

function cofactors(m: Mat3): Mat3 {
  const out = new Float64Array(9);
  for (let i = 0; i < 3; i++)
    for (let j = 0; j < 3; j++) {
      const a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
      out[3 * i + j] = m[3 * a + c]! * m[3 * b + d]! - m[3 * a + d]! * m[3 * b + c]!;
    }
  return out;
}

export const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));
