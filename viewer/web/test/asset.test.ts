import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { JOINTS, readAsset } from '../src/asset.ts';
import { neutralCode } from '../src/code.ts';
import { AssetError } from '../src/container.ts';
import { quatFromVector } from '../src/math.ts';
import { Rig } from '../src/rig.ts';
import { pack, random, syntheticArrays, syntheticBytes, syntheticMetadata } from './synthetic.ts';

test('a sound asset is read, gzipped or not', async () => {
  const bytes = syntheticBytes();
  for (const content of [bytes, new Uint8Array(gzipSync(bytes))]) {
    const asset = await readAsset(content);
    expect(asset.count).toBe(500);
    expect(asset.levels).toEqual([100, 500]);
    expect(asset.vertices.length).toBe(192);
    expect(asset.about).toEqual({ tool: 'a test' });
  }
});

test('every truncation is refused', async () => {
  const bytes = syntheticBytes(40), packed = new Uint8Array(gzipSync(bytes));
  for (let length = 0; length < bytes.length; length += 37)
    await expect(readAsset(bytes.subarray(0, length))).rejects.toThrow(AssetError);
  for (let length = 0; length < packed.length; length += 53)
    await expect(readAsset(packed.subarray(0, length))).rejects.toThrow(AssetError);
});

test('a flipped bit gives an error in words, or an asset whose indices all hold', async () => {
  const bytes = syntheticBytes(40), next = random(2);
  for (let trial = 0; trial < 800; trial++) {
    const changed = bytes.slice();
    const at = Math.floor(next() * (trial % 2 ? 2600 : bytes.length)); // half of them in the header
    changed[at]! ^= 1 << Math.floor(8 * next());
    try {
      const asset = await readAsset(changed);
      expect(Math.max(...asset.corners)).toBeLessThan(asset.triangles.length / 3);
      expect(Math.max(...asset.triangles)).toBeLessThan(asset.vertices.length / 3);
    } catch (error) {
      expect(error).toBeInstanceOf(AssetError);
    }
  }
});

test('coefficients that act together add their product to a shape, as in avatar3d', async () => {
  const arrays = syntheticArrays();
  arrays['combinations'] = { dtype: 'U16', shape: [2, 3], data: new Uint16Array([0, 1, 0, 2, 3, 5]) };
  arrays['combination_amounts'] = { dtype: 'F32', shape: [2], data: new Float32Array([-1, 0.5]) };
  const together = new Rig(await readAsset(pack(arrays, syntheticMetadata())));
  const plain = new Rig(await readAsset(pack(syntheticArrays(), syntheticMetadata())));
  const code = neutralCode(), weights = neutralCode();
  code.coefficients.set([0.6, 0.5, 0.4, 1]);
  weights.coefficients.set([0.6 - 0.3, 0.5, 0.4, 1, 0, 0.2]);
  together.pose(code), plain.pose(weights);
  together.out.forEach((value, i) => expect(value).toBeCloseTo(plain.out[i]!, 6));
});

const wrong: [string, (arrays: ReturnType<typeof syntheticArrays>, metadata: Record<string, unknown>) => void, RegExp][] = [
  ['no vertices', (a) => delete a['vertices'], /lacks vertices/],
  ['another kind', (a) => (a['colors']!.dtype = 'I8'), /another kind/],
  ['sizes that differ', (a) => { a['flags'] = { ...a['flags']!, shape: [499], data: new Uint8Array(499) }; }, /499/],
  ['a corner too far', (a) => ((a['corners']!.data as Uint16Array)[3] = 98), /triangle that does not exist/],
  ['a vertex too far', (a) => ((a['triangles']!.data as Uint16Array)[3] = 64), /corner that does not exist/],
  ['shapes that do not add up', (a) => ((a['shape_counts']!.data as Uint32Array)[3] = 2), /add up/],
  ['a combination of what does not exist', (a) => {
    a['combinations'] = { dtype: 'U16', shape: [1, 3], data: new Uint16Array([0, 1, 52]) };
    a['combination_amounts'] = { dtype: 'F32', shape: [1], data: new Float32Array(1) };
  }, /combination names a shape/],
  ['a NaN', (a) => ((a['vertices']!.data as Float32Array)[3] = NaN), /not numbers/],
  ['outside the triangle', (a) => (a['barycentrics']!.data as Uint16Array).fill(60000), /outside/],
  ['another format', (_, m) => (m['format'] = 'glb'), /not an avatar/],
  ['a newer format', (_, m) => (m['format_version'] = 2), /reads 1/],
  ['other names', (_, m) => (m['expression_names'] = Array(52).fill('x')), /52 of ARKit/],
  ['no ranges', (_, m) => delete m['ranges'], /range/],
  ['a range upside down', (_, m) => (m['ranges'] = { offsets: [1], log_scales: [1, 0], colors: [0, 1] }), /range/],
  ['no view', (_, m) => (m['view'] = { target: 'me' }), /look from/],
];
test.each(wrong)('%s is told', async (_, spoil, sentence) => {
  const arrays = syntheticArrays(), metadata = syntheticMetadata();
  spoil(arrays, metadata);
  await expect(readAsset(pack(arrays, metadata))).rejects.toThrow(sentence);
});

test('a file that unpacks without end is stopped', async () => {
  await expect(readAsset(new Uint8Array(gzipSync(new Uint8Array(150 * 2 ** 20))))).rejects.toThrow(/unpacks to more/);
});

test('a vertex between joints is where they would take it, by their weights', async () => {
  const next = random(11);
  const code = {
    ...neutralCode(), head: quatFromVector(0.3, -0.5, 0.2), neck: quatFromVector(0.1, -0.2, 0.1),
    coefficients: neutralCode().coefficients.map(() => next()),
  };
  const posed = async (skin: (v: number, joint: number) => number) => {
    const arrays = syntheticArrays(40);
    const drive = arrays['joint_drive']!.data as Float32Array, joints = arrays['joints']!.data as Float32Array;
    const numbers = random(5);
    drive.forEach((_, i) => (drive[i] = 0.1 * numbers()));
    joints.forEach((_, i) => (joints[i] = 0.1 * numbers()));
    const weights = arrays['skin_weights']!.data as Uint16Array;
    weights.forEach((_, i) => (weights[i] = skin(Math.floor(i / JOINTS), i % JOINTS)));
    const rig = new Rig(await readAsset(pack(arrays, syntheticMetadata())));
    rig.pose(code);
    return rig.out;
  };
  const each = await Promise.all([...Array(JOINTS).keys()].map((own) => posed((_, joint) => (joint === own ? 65535 : 0))));
  // A third follow one joint alone, though not with the weight 65535; weights need not sum to it.
  const skin = Array.from({ length: 64 * JOINTS }, (_, i) =>
    i / JOINTS % 3 < 1 ? (Math.floor(i / JOINTS) % JOINTS === i % JOINTS ? 30000 : 0) : next() < 0.5 ? 0 : Math.floor(9000 * next()) + 1);
  const mixed = await posed((v, joint) => skin[v * JOINTS + joint]!);
  for (let v = 0; v < 64; v++) {
    const row = skin.slice(v * JOINTS, (v + 1) * JOINTS), sum = row.reduce((a, b) => a + b, 0);
    if (sum === 0) continue;
    for (let axis = 0; axis < 3; axis++) {
      const wanted = row.reduce((total, weight, joint) => total + (weight / sum) * each[joint]![4 * v + axis]!, 0);
      expect(mixed[4 * v + axis]).toBeCloseTo(wanted, 6);
    }
  }
});
