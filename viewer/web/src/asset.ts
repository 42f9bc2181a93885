// An avatar as the viewer gets it (viewer/asset.py writes it), checked so that what is drawn later
// can trust every index.
import { damaged, isObject, readContainer, unpack, AssetError, type TypedArray } from './container.ts';
import { ARKIT_NAMES } from './names.ts';

export const LIT = 1;
export const ONE_SIDED = 2;
export const JOINTS = 6;
export const POSE_FEATURES = 36; // what correctives answer to (avatar3d/heads/skinning.py)
const MAX_COUNT = 1_000_000;
export const MAX_RANK = 16;

export interface Basis {
  rank: number;
  mean: Float32Array; // [E]
  projection: Float32Array; // [E, K]
  limits: Float32Array; // [2, K]
  offsets: Int8Array; // [K, N, 3]
  offsetSteps: Float32Array; // [K]
  colors: Int8Array; // [K, N, 3]
  colorSteps: Float32Array; // [K]
}

export interface Asset {
  count: number; // Gaussians, N
  expressionNames: string[]; // E, the 52 of ARKit first
  levels: number[]; // prefixes that are levels of detail
  view: { target: [number, number, number]; heightM: number; distanceM: number };
  about: Record<string, string>;
  vertices: Float32Array; // [V, 3] metres
  triangles: Uint16Array; // [F, 3]
  tangents: Int16Array; // [F, 2] weights of a triangle's edges in its tangent, to a common scale
  skinWeights: Uint16Array; // [V, 6] of 65535
  shapeCounts: Uint32Array; // [E], or [E + 36] with correctives: how many vertices a shape moves
  shapeVertices: Uint16Array; // [S]
  shapeOffsets: Int16Array; // [S, 3]
  shapeSteps: Float32Array; // as many, metres
  joints: Float32Array; // [6, 3] metres
  jointDrive: Float32Array; // [E, 6, 3] radians at coefficient 1
  jointExpression: Float32Array | null; // [E, 6, 3] metres: expressions shift the joints too
  combinations: Uint16Array; // [C, 3]: two coefficients and the shape they act on together
  combinationAmounts: Float32Array; // [C]
  corners: Uint16Array; // [N] triangle of each anchor
  barycentrics: Uint16Array; // [N, 2] of the second and third corner, of 65535
  flags: Uint8Array; // [N]
  offsets: Int16Array; // [N, 3]
  offsetStep: number; // metres
  rotations: Uint32Array; // [N] smallest three
  logScales: Uint8Array; // [N, 3]
  logScaleRange: [number, number];
  colors: Uint8Array; // [N, 3]
  colorRange: [number, number];
  opacities: Uint8Array; // [N]
  light: Float32Array | null; // [9, 3]
  basis: Basis | null;
}

/** Bytes of a .a3dweb file to a checked asset; an `AssetError` says what is wrong with any other. */
export async function readAsset(bytes: Uint8Array): Promise<Asset> {
  const { arrays, metadata } = readContainer(await unpack(bytes));
  if (metadata['format'] !== 'avatar3d-web')
    throw new AssetError('This is not an avatar for the viewer; export it with: avatar3d export --to web');
  if (metadata['format_version'] !== 1)
    throw new AssetError(
      `The avatar has format ${String(metadata['format_version']).slice(0, 20)}, this page reads 1; ` +
        'export it again, or use a newer viewer.',
    );
  const sizes = new Map<string, number>();

  function get<T extends TypedArray>(
    name: string,
    kind: new (n: number) => T,
    ...shape: (string | number)[]
  ): T {
    const found = arrays.get(name);
    if (found === undefined) throw damaged(`it lacks ${name}`);
    if (!(found.data instanceof kind) || found.shape.length !== shape.length)
      throw damaged(`${name} is of another kind than expected`);
    shape.forEach((size, axis) => {
      const actual = found.shape[axis]!;
      const expected = typeof size === 'number' ? size : (sizes.get(size) ?? actual);
      if (typeof size === 'string') sizes.set(size, expected);
      if (actual !== expected) throw damaged(`${name} has ${actual} entries, expected ${expected}`);
    });
    if (found.data instanceof Float32Array && !found.data.every(Number.isFinite))
      throw damaged(`${name} has values that are not numbers`);
    return found.data as T;
  }

  const asset: Asset = {
    count: 0,
    expressionNames: expressionNames(metadata['expression_names']),
    levels: [],
    view: view(metadata['view']),
    about: about(metadata['about']),
    vertices: get('vertices', Float32Array, 'V', 3),
    triangles: get('triangles', Uint16Array, 'F', 3),
    tangents: get('tangents', Int16Array, 'F', 2),
    skinWeights: get('skin_weights', Uint16Array, 'V', JOINTS),
    shapeCounts: get('shape_counts', Uint32Array, 'shapes'),
    shapeVertices: get('shape_vertices', Uint16Array, 'S'),
    shapeOffsets: get('shape_offsets', Int16Array, 'S', 3),
    shapeSteps: get('shape_steps', Float32Array, 'shapes'),
    joints: get('joints', Float32Array, JOINTS, 3),
    jointDrive: get('joint_drive', Float32Array, 'E', JOINTS, 3),
    jointExpression: arrays.has('joint_expression') ? get('joint_expression', Float32Array, 'E', JOINTS, 3) : null,
    combinations: arrays.has('combinations') ? get('combinations', Uint16Array, 'C', 3) : new Uint16Array(0),
    combinationAmounts: arrays.has('combinations')
      ? get('combination_amounts', Float32Array, 'C')
      : new Float32Array(0),
    corners: get('corners', Uint16Array, 'N'),
    barycentrics: get('barycentrics', Uint16Array, 'N', 2),
    flags: get('flags', Uint8Array, 'N'),
    offsets: get('offsets', Int16Array, 'N', 3),
    offsetStep: range(metadata['ranges'], 'offsets', 1)[0]!,
    rotations: get('rotations', Uint32Array, 'N'),
    logScales: get('log_scales', Uint8Array, 'N', 3),
    logScaleRange: range(metadata['ranges'], 'log_scales', 2) as [number, number],
    colors: get('colors', Uint8Array, 'N', 3),
    colorRange: range(metadata['ranges'], 'colors', 2) as [number, number],
    opacities: get('opacities', Uint8Array, 'N'),
    light: arrays.has('light') ? get('light', Float32Array, 9, 3) : null,
    basis: null,
  };
  asset.count = sizes.get('N')!;
  if (asset.count < 1 || asset.count > MAX_COUNT) throw damaged(`it has ${asset.count} Gaussians`);
  if (sizes.get('E') !== asset.expressionNames.length)
    throw damaged('its shapes and their names differ in number');
  const correctives = sizes.get('shapes')! - asset.expressionNames.length;
  if (correctives !== 0 && correctives !== POSE_FEATURES)
    throw damaged('its shapes and their names differ in number');
  checkIndices(asset, sizes.get('S')!);
  asset.levels = levels(metadata['levels'], asset.count);
  if (arrays.has('basis_mean')) {
    asset.basis = {
      rank: 0,
      mean: get('basis_mean', Float32Array, 'B'),
      projection: get('basis_projection', Float32Array, 'B', 'K'),
      limits: get('basis_limits', Float32Array, 2, 'K'),
      offsets: get('basis_offsets', Int8Array, 'K', 'N', 3),
      offsetSteps: get('basis_offsets_steps', Float32Array, 'K'),
      colors: get('basis_colors', Int8Array, 'K', 'N', 3),
      colorSteps: get('basis_colors_steps', Float32Array, 'K'),
    };
    asset.basis.rank = sizes.get('K')!;
    if (asset.basis.rank > MAX_RANK || asset.basis.mean.length > asset.expressionNames.length)
      throw damaged('its expression basis is larger than can be drawn');
  }
  return asset;
}

function checkIndices(asset: Asset, shapeRows: number): void {
  const vertices = asset.vertices.length / 3;
  if (!below(asset.triangles, vertices)) throw damaged('a triangle has a corner that does not exist');
  if (!below(asset.shapeVertices, vertices)) throw damaged('a shape moves a vertex that does not exist');
  if (!below(asset.combinations, asset.expressionNames.length))
    throw damaged('a combination names a shape that does not exist');
  if (!below(asset.corners, asset.triangles.length / 3))
    throw damaged('a Gaussian lies on a triangle that does not exist');
  if (asset.shapeCounts.reduce((sum, count) => sum + count, 0) !== shapeRows)
    throw damaged('its shapes do not add up');
  for (let n = 0; n < asset.count; n++)
    if (asset.barycentrics[2 * n]! + asset.barycentrics[2 * n + 1]! > 65540)
      throw damaged('a Gaussian lies outside its triangle');
}

function below(indices: Uint16Array, end: number): boolean {
  for (const index of indices) if (index >= end) return false;
  return true;
}

function expressionNames(value: unknown): string[] {
  if (!Array.isArray(value) || value.length > 512 || !value.every((v) => typeof v === 'string'))
    throw damaged('it does not name its shapes');
  if (ARKIT_NAMES.some((name, index) => value[index] !== name))
    throw damaged('its shapes are not the 52 of ARKit');
  return value as string[];
}

function numbers(value: unknown, count: number): number[] | null {
  const good = (v: unknown) => typeof v === 'number' && Number.isFinite(v) && Math.abs(v) < 1e6;
  return Array.isArray(value) && value.length === count && value.every(good) ? value : null;
}

function range(value: unknown, name: string, count: number): number[] {
  const found = isObject(value) ? numbers(value[name], count) : null;
  if (found === null || (count === 2 && found[0]! >= found[1]!))
    throw damaged(`it does not say the range of its ${name}`);
  return found;
}

function view(value: unknown): Asset['view'] {
  const target = isObject(value) ? numbers(value['target'], 3) : null;
  const rest = isObject(value) ? numbers([value['height_m'], value['distance_m']], 2) : null;
  if (target === null || rest === null || rest[0]! < 0.01 || rest[1]! < 0.05)
    throw damaged('it does not say where to look from');
  return {
    target: target as [number, number, number],
    heightM: rest[0]!,
    distanceM: rest[1]!,
  };
}

function about(value: unknown): Record<string, string> {
  const texts = isObject(value) ? Object.entries(value) : [];
  return Object.fromEntries(
    texts.filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
  );
}

function levels(value: unknown, count: number): number[] {
  const given = Array.isArray(value) ? value.filter(Number.isInteger) : [];
  return [...given.filter((level: number) => level > 0 && level < count), count];
}
