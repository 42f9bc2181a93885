// The surface under the anchors on the CPU, as the shaders compute it: needed once, at rest, for
// what skin has grown from and for where each Gaussian stands in its triangle's own coordinates.
import type { Asset } from './asset.ts';

/** Triangles around each vertex as rows of its two other corners and their tangent weights. */
export interface Rings {
  starts: Uint32Array; // [V + 1]
  corners: Uint16Array; // [R, 2]
  weights: Float32Array; // [R, 2]
}

export function makeRings(asset: Asset): Rings {
  const vertexCount = asset.vertices.length / 3;
  const { triangles, tangents } = asset;
  const starts = new Uint32Array(vertexCount + 1);
  for (const corner of triangles) starts[corner + 1]!++;
  for (let v = 0; v < vertexCount; v++) starts[v + 1]! += starts[v]!;
  const corners = new Uint16Array(2 * triangles.length);
  const weights = new Float32Array(2 * triangles.length);
  const filled = starts.slice(0, vertexCount);
  for (let f = 0; f < triangles.length / 3; f++) {
    // A triangle's tangent is w1 (b - a) + w2 (c - a); from b and from c it is written with the
    // edges that leave them.
    const first = tangents[2 * f]! / 32767, second = tangents[2 * f + 1]! / 32767;
    const edge = [first, second, -(first + second)];
    for (let k = 0; k < 3; k++) {
      const at = 2 * filled[triangles[3 * f + k]!]!++;
      corners[at] = triangles[3 * f + ((k + 1) % 3)]!;
      corners[at + 1] = triangles[3 * f + ((k + 2) % 3)]!;
      weights[at] = edge[k]!;
      weights[at + 1] = edge[(k + 1) % 3]!;
    }
  }
  return { starts, corners, weights };
}

/** Summed normals and tangents at the vertices of `points` [V, stride], [V, 6]. */
export function vertexFrames(points: Float32Array, stride: number, rings: Rings): Float32Array {
  const vertexCount = rings.starts.length - 1;
  const frames = new Float32Array(6 * vertexCount);
  for (let v = 0; v < vertexCount; v++) {
    const x = points[v * stride]!, y = points[v * stride + 1]!, z = points[v * stride + 2]!;
    let nx = 0, ny = 0, nz = 0, tx = 0, ty = 0, tz = 0;
    for (let k = 2 * rings.starts[v]!; k < 2 * rings.starts[v + 1]!; k += 2) {
      const p = rings.corners[k]! * stride, q = rings.corners[k + 1]! * stride;
      const ax = points[p]! - x, ay = points[p + 1]! - y, az = points[p + 2]! - z;
      const bx = points[q]! - x, by = points[q + 1]! - y, bz = points[q + 2]! - z;
      nx += ay * bz - az * by, ny += az * bx - ax * bz, nz += ax * by - ay * bx;
      const a = rings.weights[k]!, b = rings.weights[k + 1]!;
      tx += a * ax + b * bx, ty += a * ay + b * by, tz += a * az + b * bz;
    }
    frames.set([nx, ny, nz, tx, ty, tz], 6 * v);
  }
  return frames;
}

export interface Rest {
  growth: Float32Array; // [N, 2] lengths of tangent and normal at rest, before they are made unit
  place: Float32Array; // [N, 3] along the triangle's two edges, and metres along its unit normal
}

export function restOf(asset: Asset, rings: Rings): Rest {
  const { vertices: p, triangles, count } = asset;
  const frames = vertexFrames(p, 3, rings);
  const growth = new Float32Array(2 * count);
  const place = new Float32Array(3 * count);
  for (let n = 0; n < count; n++) {
    const f = 3 * asset.corners[n]!;
    const a = triangles[f]!, b = triangles[f + 1]!, c = triangles[f + 2]!;
    const v = asset.barycentrics[2 * n]! / 65535, w = asset.barycentrics[2 * n + 1]! / 65535;
    const u = 1 - v - w;
    const mixed = (i: number) => u * frames[6 * a + i]! + v * frames[6 * b + i]! + w * frames[6 * c + i]!;
    let [nx, ny, nz] = [mixed(0), mixed(1), mixed(2)];
    let [tx, ty, tz] = [mixed(3), mixed(4), mixed(5)];
    const area = Math.max(Math.hypot(nx, ny, nz), 1e-12);
    nx /= area, ny /= area, nz /= area;
    const along = nx * tx + ny * ty + nz * tz;
    tx -= nx * along, ty -= ny * along, tz -= nz * along;
    const length = Math.max(Math.hypot(tx, ty, tz), 1e-12);
    tx /= length, ty /= length, tz /= length;
    growth[2 * n] = length, growth[2 * n + 1] = area;

    const [ox, oy, oz] = [0, 1, 2].map((i) => asset.offsets[3 * n + i]! * asset.offsetStep) as [number, number, number];
    const [bx, by, bz] = [ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx];
    const dx = tx * ox + bx * oy + nx * oz, dy = ty * ox + by * oy + ny * oz, dz = tz * ox + bz * oy + nz * oz;
    place.set(inTriangle(p, 3 * a, 3 * b, 3 * c, v, w, dx, dy, dz), 3 * n);
  }
  return { growth, place };
}

/** Point (v, w) of a triangle moved by d, as multiples of its edges and metres along its normal. */
function inTriangle(
  p: Float32Array, a: number, b: number, c: number,
  v: number, w: number, dx: number, dy: number, dz: number,
): [number, number, number] {
  const e = [0, 1, 2].map((i) => p[b + i]! - p[a + i]!) as [number, number, number];
  const g = [0, 1, 2].map((i) => p[c + i]! - p[a + i]!) as [number, number, number];
  const n = [e[1] * g[2] - e[2] * g[1], e[2] * g[0] - e[0] * g[2], e[0] * g[1] - e[1] * g[0]] as const;
  const length = Math.hypot(...n);
  if (length < 1e-12) return [v, w, 0]; // a sliver: its Gaussians are sorted by their anchor
  const dot = (h: readonly number[]) => dx * h[0]! + dy * h[1]! + dz * h[2]!;
  const ee = e[0] ** 2 + e[1] ** 2 + e[2] ** 2, gg = g[0] ** 2 + g[1] ** 2 + g[2] ** 2;
  const eg = e[0] * g[0] + e[1] * g[1] + e[2] * g[2];
  const determinant = ee * gg - eg * eg;
  const s = (gg * dot(e) - eg * dot(g)) / determinant, t = (ee * dot(g) - eg * dot(e)) / determinant;
  return [v + s, w + t, dot(n) / length];
}
