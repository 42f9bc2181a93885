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
    const at = 6 * v;
    frames[at] = nx, frames[at + 1] = ny, frames[at + 2] = nz;
    frames[at + 3] = tx, frames[at + 4] = ty, frames[at + 5] = tz;
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
    // Plain numbers, no arrays: this runs once for each Gaussian while somebody waits.
    const i = 6 * a, j = 6 * b, k = 6 * c;
    let nx = u * frames[i]! + v * frames[j]! + w * frames[k]!;
    let ny = u * frames[i + 1]! + v * frames[j + 1]! + w * frames[k + 1]!;
    let nz = u * frames[i + 2]! + v * frames[j + 2]! + w * frames[k + 2]!;
    let tx = u * frames[i + 3]! + v * frames[j + 3]! + w * frames[k + 3]!;
    let ty = u * frames[i + 4]! + v * frames[j + 4]! + w * frames[k + 4]!;
    let tz = u * frames[i + 5]! + v * frames[j + 5]! + w * frames[k + 5]!;
    const area = Math.max(Math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12);
    nx /= area, ny /= area, nz /= area;
    const along = nx * tx + ny * ty + nz * tz;
    tx -= nx * along, ty -= ny * along, tz -= nz * along;
    const length = Math.max(Math.sqrt(tx * tx + ty * ty + tz * tz), 1e-12);
    tx /= length, ty /= length, tz /= length;
    growth[2 * n] = length, growth[2 * n + 1] = area;

    const at = 3 * n, step = asset.offsetStep;
    const ox = asset.offsets[at]! * step, oy = asset.offsets[at + 1]! * step, oz = asset.offsets[at + 2]! * step;
    const dx = tx * ox + (ny * tz - nz * ty) * oy + nx * oz;
    const dy = ty * ox + (nz * tx - nx * tz) * oy + ny * oz;
    const dz = tz * ox + (nx * ty - ny * tx) * oy + nz * oz;
    inTriangle(p, 3 * a, 3 * b, 3 * c, v, w, dx, dy, dz, place, at);
  }
  return { growth, place };
}

/** Into `out`: point (v, w) of a triangle moved by d, as multiples of its edges and metres along its normal. */
function inTriangle(
  p: Float32Array, a: number, b: number, c: number, v: number, w: number, dx: number, dy: number, dz: number,
  out: Float32Array, at: number,
): void {
  const ex = p[b]! - p[a]!, ey = p[b + 1]! - p[a + 1]!, ez = p[b + 2]! - p[a + 2]!;
  const gx = p[c]! - p[a]!, gy = p[c + 1]! - p[a + 1]!, gz = p[c + 2]! - p[a + 2]!;
  const nx = ey * gz - ez * gy, ny = ez * gx - ex * gz, nz = ex * gy - ey * gx;
  const length = Math.sqrt(nx * nx + ny * ny + nz * nz);
  out[at] = v, out[at + 1] = w, out[at + 2] = 0;
  if (length < 1e-12) return; // a sliver: its Gaussians are sorted by their anchor
  const de = dx * ex + dy * ey + dz * ez, dg = dx * gx + dy * gy + dz * gz;
  const ee = ex * ex + ey * ey + ez * ez, gg = gx * gx + gy * gy + gz * gz, eg = ex * gx + ey * gy + ez * gz;
  const determinant = ee * gg - eg * eg;
  out[at] = v + (gg * de - eg * dg) / determinant;
  out[at + 1] = w + (ee * dg - eg * de) / determinant;
  out[at + 2] = (dx * nx + dy * ny + dz * nz) / length;
}
