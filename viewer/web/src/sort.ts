// Back to front by depth. A Gaussian keeps its place in its triangle's coordinates, so its depth is
// affine in what the triangle's corners and normal have: three products, and no reading back.
import { ONE_SIDED, type Asset } from './asset.ts';
import type { Vec3 } from './math.ts';

const BUCKETS = 1 << 14; // 0.03 mm of a head's depth
// Cosine between a triangle's normal and the way to the eye below which its one-sided Gaussians
// are left out. The shader has faded them to nothing by then (FADE in shaders.ts).
export const CULL_COSINE = -0.4;

export class Sorter {
  readonly order: Uint32Array;
  private readonly depth: Float32Array; // of what is kept,
  private readonly kept: Uint32Array; // and its numbers
  private readonly counts = new Uint32Array(BUCKETS + 1);
  private readonly plane: Float32Array; // [F, 4] depth of a corner, of two edges, of the normal
  private readonly hidden: Uint8Array; // [F]
  private readonly shown: Uint32Array; // the Gaussians that are not wholly transparent

  constructor(
    private readonly asset: Asset,
    private readonly place: Float32Array,
  ) {
    const triangles = asset.triangles.length / 3;
    this.order = new Uint32Array(asset.count);
    this.depth = new Float32Array(asset.count);
    this.kept = new Uint32Array(asset.count);
    this.plane = new Float32Array(4 * triangles);
    this.hidden = new Uint8Array(triangles);
    const shown: number[] = [];
    asset.opacities.forEach((opacity, n) => opacity > 0 && shown.push(n));
    this.shown = Uint32Array.from(shown);
  }

  /**
   * Numbers of the Gaussians to draw, the farthest first, in `order`; returns how many.
   * points: [V, 4]; forward: away from the eye, any length; eye: where it is; count: level of detail.
   */
  sort(points: Float32Array, forward: Vec3, eye: Vec3, count: number, cull: boolean): number {
    const { asset, plane, hidden, place, depth, counts, order } = this;
    const { triangles, corners, flags } = asset;
    const [fx, fy, fz] = forward;
    for (let f = 0, i = 0, k = 0; i < triangles.length; f++, i += 3, k += 4) {
      const a = 4 * triangles[i]!, b = 4 * triangles[i + 1]!, c = 4 * triangles[i + 2]!;
      const x = points[a]!, y = points[a + 1]!, z = points[a + 2]!;
      const ex = points[b]! - x, ey = points[b + 1]! - y, ez = points[b + 2]! - z;
      const gx = points[c]! - x, gy = points[c + 1]! - y, gz = points[c + 2]! - z;
      const nx = ey * gz - ez * gy, ny = ez * gx - ex * gz, nz = ex * gy - ey * gx;
      const square = nx * nx + ny * ny + nz * nz;
      const inverse = square > 1e-24 ? 1 / Math.sqrt(square) : 0;
      plane[k] = fx * x + fy * y + fz * z;
      plane[k + 1] = fx * ex + fy * ey + fz * ez;
      plane[k + 2] = fx * gx + fy * gy + fz * gz;
      plane[k + 3] = (fx * nx + fy * ny + fz * nz) * inverse;
      const wx = eye[0] - x, wy = eye[1] - y, wz = eye[2] - z;
      const toward = (nx * wx + ny * wy + nz * wz) * inverse;
      hidden[f] =
        toward < 0 && toward * toward > CULL_COSINE * CULL_COSINE * (wx * wx + wy * wy + wz * wz)
          ? ONE_SIDED
          : 0;
    }

    let least = Infinity, greatest = -Infinity, kept = 0;
    const { shown, kept: numbers } = this;
    for (let j = 0; j < shown.length; j++) {
      const n = shown[j]!;
      if (n >= count) break;
      const f = corners[n]!;
      if (cull && (hidden[f]! & flags[n]!) !== 0) continue;
      const k = 4 * f, i = 3 * n;
      const d =
        plane[k]! + place[i]! * plane[k + 1]! + place[i + 1]! * plane[k + 2]! + place[i + 2]! * plane[k + 3]!;
      depth[kept] = d;
      numbers[kept++] = n;
      if (d < least) least = d;
      if (d > greatest) greatest = d;
    }
    if (!(greatest >= least)) return 0;

    // A counting sort; bucket 0 is the farthest.
    const scale = (BUCKETS - 1) / Math.max(greatest - least, 1e-9);
    counts.fill(0);
    for (let j = 0; j < kept; j++) counts[(((greatest - depth[j]!) * scale) | 0) + 1]!++;
    for (let bucket = 0; bucket < BUCKETS; bucket++) counts[bucket + 1]! += counts[bucket]!;
    for (let j = 0; j < kept; j++) order[counts[((greatest - depth[j]!) * scale) | 0]!++] = numbers[j]!;
    return kept;
  }
}
