// A small asset made of numbers: a bumpy sheet of triangles with Gaussians on it.
import { ARKIT_NAMES } from '../src/names.ts';

type Arrays = Record<string, { dtype: string; shape: number[]; data: ArrayBufferView }>;

/** Deterministic numbers in 0..1. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export function syntheticArrays(count = 500, side = 8): Arrays {
  const next = random(1);
  const vertices: number[] = [], triangles: number[] = [];
  for (let j = 0; j < side; j++)
    for (let i = 0; i < side; i++) vertices.push(0.02 * i, 0.02 * j, 0.01 * next());
  for (let j = 0; j + 1 < side; j++)
    for (let i = 0; i + 1 < side; i++) {
      const a = j * side + i;
      triangles.push(a, a + 1, a + side, a + 1, a + side + 1, a + side);
    }
  const V = side * side, F = triangles.length / 3, E = ARKIT_NAMES.length;
  const ints = (n: number, make: () => number) => Array.from({ length: n }, make);
  const corners = ints(count, () => Math.floor(next() * F));
  const barycentrics = corners.flatMap(() => {
    const v = next(), w = next() * (1 - v);
    return [Math.floor(v * 65535), Math.floor(w * 65535)];
  });
  const skin = Array.from({ length: V }, () => [0, 0, 65535, 0, 0, 0]).flat();
  return {
    vertices: { dtype: 'F32', shape: [V, 3], data: new Float32Array(vertices) },
    triangles: { dtype: 'U16', shape: [F, 3], data: new Uint16Array(triangles) },
    tangents: { dtype: 'I16', shape: [F, 2], data: new Int16Array(ints(2 * F, () => 20000)) },
    skin_weights: { dtype: 'U16', shape: [V, 6], data: new Uint16Array(skin) },
    shape_counts: { dtype: 'U32', shape: [E], data: new Uint32Array(E).fill(1) },
    shape_vertices: { dtype: 'U16', shape: [E], data: new Uint16Array(E).map((_, i) => i % V) },
    shape_offsets: { dtype: 'I16', shape: [E, 3], data: new Int16Array(3 * E).fill(32767) },
    shape_steps: { dtype: 'F32', shape: [E], data: new Float32Array(E).fill(0.01 / 32767) },
    joints: { dtype: 'F32', shape: [6, 3], data: new Float32Array(18) },
    joint_drive: { dtype: 'F32', shape: [E, 6, 3], data: new Float32Array(E * 18) },
    corners: { dtype: 'U16', shape: [count], data: new Uint16Array(corners) },
    barycentrics: { dtype: 'U16', shape: [count, 2], data: new Uint16Array(barycentrics) },
    flags: { dtype: 'U8', shape: [count], data: new Uint8Array(ints(count, () => Math.floor(4 * next()))) },
    offsets: { dtype: 'I16', shape: [count, 3], data: new Int16Array(ints(3 * count, () => Math.floor(600 * (next() - 0.5)))) },
    rotations: { dtype: 'U32', shape: [count], data: new Uint32Array(ints(count, () => Math.floor(next() * 2 ** 32))) },
    log_scales: { dtype: 'U8', shape: [count, 3], data: new Uint8Array(ints(3 * count, () => Math.floor(256 * next()))) },
    colors: { dtype: 'U8', shape: [count, 3], data: new Uint8Array(ints(3 * count, () => Math.floor(256 * next()))) },
    opacities: { dtype: 'U8', shape: [count], data: new Uint8Array(ints(count, () => Math.floor(256 * next()))) },
  };
}

export function syntheticMetadata(): Record<string, unknown> {
  return {
    format: 'avatar3d-web',
    format_version: 1,
    expression_names: ARKIT_NAMES,
    levels: [100],
    ranges: { offsets: [1e-5], log_scales: [-8, -5], colors: [0, 1] },
    view: { target: [0, 0, 0], height_m: 0.3, distance_m: 0.8 },
    about: { tool: 'a test' },
  };
}

/** The bytes of a container (docs/formats.md), not gzipped. */
export function pack(arrays: Arrays, metadata: Record<string, unknown>): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: { avatar3d: JSON.stringify(metadata) } };
  let at = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(arrays)) {
    header[name] = { dtype, shape, data_offsets: [at, at + data.byteLength] };
    at += data.byteLength;
  }
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - (text.length % 8)) % 8);
  const out = new Uint8Array(8 + text.length + at);
  new DataView(out.buffer).setUint32(0, text.length, true);
  out.set(new TextEncoder().encode(text), 8);
  at = 8 + text.length;
  for (const { data } of Object.values(arrays)) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}

export const syntheticBytes = (count?: number) => pack(syntheticArrays(count), syntheticMetadata());
