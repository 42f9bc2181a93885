import { expect, test } from 'vitest';
import { readAsset } from '../src/asset.ts';
import { Avatar } from '../src/avatar.ts';
import { neutralCode } from '../src/code.ts';
import { quatFromVector, type Vec3 } from '../src/math.ts';
import { CULL_COSINE } from '../src/sort.ts';
import { vertexFrames } from '../src/surface.ts';
import { random, syntheticBytes } from './synthetic.ts';

/** Where each Gaussian is, the slow way: interpolated frames, as the shaders have them. */
function positions(avatar: Avatar): Vec3[] {
  const { asset, rig, rings } = avatar;
  const frames = vertexFrames(rig.out, 4, rings);
  return Array.from({ length: asset.count }, (_, n) => {
    const f = 3 * asset.corners[n]!;
    const v = asset.barycentrics[2 * n]! / 65535, w = asset.barycentrics[2 * n + 1]! / 65535;
    const weights = [1 - v - w, v, w];
    const mixed = (from: Float32Array, stride: number, at: number) =>
      weights.reduce((sum, weight, k) => sum + weight * from[stride * asset.triangles[f + k]! + at]!, 0);
    const vector = (from: Float32Array, stride: number, at: number) =>
      [0, 1, 2].map((axis) => mixed(from, stride, at + axis)) as [number, number, number];
    const unit = (a: number[]) => a.map((x) => x / Math.hypot(...a)) as [number, number, number];
    const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
    const normal = unit(vector(frames, 6, 0));
    const raw = vector(frames, 6, 3);
    const tangent = unit(raw.map((x, i) => x - normal[i]! * dot(raw, normal)));
    const [nx, ny, nz] = normal, [tx, ty, tz] = tangent;
    const across = [ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx];
    const offset = [0, 1, 2].map((axis) => asset.offsets[3 * n + axis]! * asset.offsetStep);
    const p = vector(rig.out, 4, 0);
    return p.map((x, i) => x + tangent[i]! * offset[0]! + across[i]! * offset[1]! + normal[i]! * offset[2]!) as unknown as Vec3;
  });
}

async function avatarInPose(): Promise<Avatar> {
  const avatar = new Avatar(await readAsset(syntheticBytes()));
  avatar.rig.pose({ ...neutralCode(), head: quatFromVector(0.3, -0.5, 0.2) });
  return avatar;
}

test('the order is by depth, the farthest first, within a bucket', async () => {
  const avatar = await avatarInPose(), next = random(3);
  const where = positions(avatar);
  for (let trial = 0; trial < 20; trial++) {
    const forward: Vec3 = [next() - 0.5, next() - 0.5, next() - 0.5];
    const depth = where.map((p) => p[0] * forward[0] + p[1] * forward[1] + p[2] * forward[2]);
    const drawn = avatar.sorter.sort(avatar.rig.out, forward, [0, 0, 1], 500, false);
    const order = [...avatar.sorter.order.subarray(0, drawn)];
    const shown = [...avatar.asset.opacities.keys()].filter((n) => avatar.asset.opacities[n]! > 0);
    expect([...order].sort((a, b) => a - b)).toEqual(shown);
    const range = Math.max(...depth) - Math.min(...depth);
    for (let i = 1; i < drawn; i++) expect(depth[order[i]!]! - depth[order[i - 1]!]!).toBeLessThan(range / 16000 + 1e-6);
  }
});

test('a level of detail is a prefix', async () => {
  const avatar = await avatarInPose();
  const drawn = avatar.sorter.sort(avatar.rig.out, [0, 0, -1], [0, 0, 1], 120, false);
  const order = avatar.sorter.order.subarray(0, drawn);
  expect(Math.max(...order)).toBeLessThan(120);
  expect(new Set(order).size).toBe(drawn);
});

test('a level of detail that comes back is the one that went', async () => {
  const avatar = await avatarInPose();
  const sorted = (count: number) => {
    const drawn = avatar.sorter.sort(avatar.rig.out, [0.2, 0, -1], [0, 0, 1], count, true);
    return [...avatar.sorter.order.subarray(0, drawn)];
  };
  const whole = sorted(500), fewer = sorted(200);
  expect(new Set(fewer)).toEqual(new Set(whole.filter((n) => n < 200)));
  expect(sorted(500)).toEqual(whole);
  expect(sorted(200)).toEqual(fewer);
});

test('only one-sided Gaussians that face away are left out', async () => {
  const avatar = await avatarInPose();
  avatar.rig.pose(neutralCode());
  const { asset } = avatar;
  const sort = (z: number) => {
    const drawn = avatar.sorter.sort(avatar.rig.out, [0, 0, -z], [0.07, 0.07, z], 500, true);
    return new Set(avatar.sorter.order.subarray(0, drawn));
  };
  const front = sort(1), back = sort(-1);
  const shown = [...asset.opacities.keys()].filter((n) => asset.opacities[n]! > 0);
  expect(front).toEqual(new Set(shown));
  expect(back.size).toBeLessThan(front.size * 0.7);
  for (const n of shown) if ((asset.flags[n]! & 2) === 0) expect(back.has(n)).toBe(true);
  expect(CULL_COSINE).toBeLessThan(-0.3); // the shader has faded them by then
});
