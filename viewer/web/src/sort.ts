// Back to front by depth. A Gaussian keeps its place in its triangle's coordinates, so its depth is
// affine in what the triangle's corners and normal have: three products, and no reading back.
// Gaussians are walked triangle by triangle, so that a plane stays in registers, memory is read in
// order, and what a triangle hides is passed over at once.
import { ONE_SIDED, type Asset } from './asset.ts';
import type { Vec3 } from './math.ts';

const BUCKETS = 1 << 14; // 0.03 mm of a head's depth
// Cosine between a triangle's normal and the way to the eye below which its one-sided Gaussians
// are left out. The shader has faded them to nothing by then (FADE in shaders.ts).
export const CULL_COSINE = -0.4;

export class Sorter {
  readonly order: Uint32Array;
  private readonly corners: Uint32Array; // [F, 3] where the corners' points begin
  private readonly ends: Uint32Array; // [F, 2] of a triangle's Gaussians: the two-sided, then the others
  private readonly members: Uint32Array; // [M] their numbers
  private readonly places: Float32Array; // [M, 3]
  private readonly depth: Float32Array; // of what is kept,
  private readonly kept: Uint32Array; // its numbers,
  private readonly buckets: Uint16Array; // and where it goes
  private readonly counts = new Uint32Array(BUCKETS + 1);
  private level = -1; // of detail, that the members are of

  constructor(
    private readonly asset: Asset,
    private readonly place: Float32Array,
  ) {
    const { count, triangles } = asset;
    this.order = new Uint32Array(count);
    this.corners = Uint32Array.from(triangles, (vertex) => 4 * vertex);
    this.ends = new Uint32Array((2 * triangles.length) / 3);
    this.members = new Uint32Array(count);
    this.places = new Float32Array(3 * count);
    this.depth = new Float32Array(count);
    this.kept = new Uint32Array(count);
    this.buckets = new Uint16Array(count);
  }

  /**
   * Numbers of the Gaussians to draw, the farthest first, in `order`; returns how many.
   * points: [V, 4]; forward: away from the eye, any length; eye: where it is; count: level of detail.
   */
  sort(points: Float32Array, forward: Vec3, eye: Vec3, count: number, cull: boolean): number {
    if (count !== this.level) this.gather(count);
    const { depth, buckets, counts, order, kept: numbers } = this;
    const kept = this.measure(points, forward, eye, cull);
    let least = Infinity, greatest = -Infinity;
    for (let j = 0; j < kept; j++) {
      const d = depth[j]!;
      if (d < least) least = d;
      if (d > greatest) greatest = d;
    }
    if (!(greatest >= least)) return 0;

    // A counting sort; bucket 0 is the farthest.
    const scale = (BUCKETS - 1) / Math.max(greatest - least, 1e-9);
    counts.fill(0);
    for (let j = 0; j < kept; j++) {
      const bucket = ((greatest - depth[j]!) * scale) | 0;
      buckets[j] = bucket;
      counts[bucket + 1]!++;
    }
    for (let bucket = 0, sum = 0; bucket < BUCKETS; bucket++) counts[bucket] = sum += counts[bucket]!;
    for (let j = 0; j < kept; j++) order[counts[buckets[j]!]!++] = numbers[j]!;
    return kept;
  }

  /** Depths and numbers of what is not hidden, as the triangles have them; returns how many. */
  private measure(points: Float32Array, forward: Vec3, eye: Vec3, cull: boolean): number {
    const { corners, ends, members, places, depth, kept: numbers } = this;
    const [fx, fy, fz] = forward, [ex, ey, ez] = eye;
    const hiding = CULL_COSINE * CULL_COSINE;
    let kept = 0;
    for (let f = 0, j = 0, i = 0; f < ends.length; f += 2, i += 3) {
      let end = ends[f + 1]!;
      if (j === end) continue;
      const a = corners[i]!, b = corners[i + 1]!, c = corners[i + 2]!;
      const x = points[a]!, y = points[a + 1]!, z = points[a + 2]!;
      const px = points[b]! - x, py = points[b + 1]! - y, pz = points[b + 2]! - z;
      const qx = points[c]! - x, qy = points[c + 1]! - y, qz = points[c + 2]! - z;
      const nx = py * qz - pz * qy, ny = pz * qx - px * qz, nz = px * qy - py * qx;
      const square = nx * nx + ny * ny + nz * nz;
      const next = end;
      if (cull) {
        const wx = ex - x, wy = ey - y, wz = ez - z;
        const toward = nx * wx + ny * wy + nz * wz;
        if (toward < 0 && toward * toward > hiding * square * (wx * wx + wy * wy + wz * wz)) end = ends[f]!;
      }
      if (j < end) {
        const corner = fx * x + fy * y + fz * z;
        const first = fx * px + fy * py + fz * pz, second = fx * qx + fy * qy + fz * qz;
        const normal = square > 1e-24 ? (fx * nx + fy * ny + fz * nz) / Math.sqrt(square) : 0;
        for (let k = 3 * j; j < end; j++, k += 3) {
          depth[kept] = corner + places[k]! * first + places[k + 1]! * second + places[k + 2]! * normal;
          numbers[kept++] = members[j]!;
        }
      }
      j = next;
    }
    return kept;
  }

  /** The Gaussians of a level of detail by triangle; the wholly transparent are left out. */
  private gather(count: number): void {
    const { asset, ends, members, places, place } = this;
    const { corners, flags, opacities } = asset;
    const group = (n: number) => 2 * corners[n]! + ((flags[n]! & ONE_SIDED) === 0 ? 0 : 1);
    const shown: number[] = [];
    for (let n = 0; n < Math.min(count, asset.count); n++) if (opacities[n]! > 0) shown.push(n);
    ends.fill(0);
    for (const n of shown) ends[group(n)]!++;
    for (let g = 0, sum = 0; g < ends.length; g++) [ends[g], sum] = [sum, sum + ends[g]!];
    for (const n of shown) {
      const j = ends[group(n)]!++; // from a group's begin to its end
      members[j] = n;
      places.set(place.subarray(3 * n, 3 * n + 3), 3 * j);
    }
    this.level = count;
  }
}
