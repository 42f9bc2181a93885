// What the tracker computes with, as `python -m recon.track.live_export` writes it, distrusted.
import { AssetError, isObject, unpack } from '../container.ts';

export const POINTS = 478; // of MediaPipe's face mesh with irises

/** The face as a polynomial of code and view (recon/track/linear_face.py); N landmarks, E coefficients. */
export interface Face {
  count: number; // N
  codes: number; // E
  modes: number; // of identity
  landmarks: number[];
  rigidRows: number[];
  gaps: [number, number][]; // rows of points that meet
  irisRows: [number, number, number][]; // an iris' centre, the middles of its lids
  squared: number[]; // coefficients whose square counts too
  neutral: Float64Array; // [N, 3]
  identity: Float64Array; // [N, 3, I]
  expression: Float64Array; // [N, 3, E]
  squares: Float64Array; // [N, 3, K]
  turns: Float64Array; // [N, 3, 4]
  normals: Float64Array; // [N, 3]
  weights: Float64Array; // [N]
}

/** recon/track/code_prior.py */
export interface Prior {
  l1: Float64Array; // [E]
  epsilon: number;
  quadratic: Float64Array; // [E, E]
  exclusion: Float64Array; // [E, E]
  lips: number;
  close: number;
  jaw: number;
}

export interface Model {
  names: string[];
  irisCentres: [number, number];
  face: Face;
  prior: Prior;
  near: { code: number; rotation: number; translation: number[] };
  smoothing: { coefficients: Float64Array; turn: number[]; place: number[]; speedHz: number };
  joints: { neck: number[]; head: number[] };
  constants: Record<(typeof NUMBERS)[number], number>;
  focalRange: [number, number];
}

const NUMBERS = [
  'NOISE_M', 'OUTLIER_M', 'TURN_NOISE', 'FACING', 'AVERTED', 'HIDDEN_WEIGHT', 'IRIS_HIDDEN_M', 'IRIS_SEEN_M',
  'GAP_NOISE_M', 'GAP_NOISE_SHARE', 'INDEPENDENT_GAPS', 'damping', 'pivot_rounds', 'max_turn', 'steps', 'settled',
  'calibration_s', 'calibration_frames', 'calibration_turn_rad', 'calibration_stir', 'calibration_rounds',
  'identity_weight', 'offset_sigma_m', 'shrink_frames', 'pupils_m', 'assumed_distance_m', 'broken', 'blink_from', 'blink_shut',
  'side_from_rad', 'side_to_rad', 'hold_s', 'fade_s', 'blend_s', 'longest_step_s', 'waist_below_neck_m',
  'reference_yaw_share',
] as const;

/** Read the model's bytes, packed or not; an `AssetError` for anything but a sound one. */
export async function readModel(bytes: Uint8Array): Promise<Model> {
  let content: unknown;
  try {
    content = JSON.parse(new TextDecoder().decode(await unpack(bytes)));
  } catch {
    throw unfit('it is not whole');
  }
  const given = object(content, 'model');
  if (given['format'] !== 1) throw unfit('it is of another version');
  const names = given['names'];
  if (!Array.isArray(names) || names.length < 52) throw unfit('its coefficients are not named');
  const landmarks = indices(given['landmarks'], POINTS, 'landmarks');
  const n = landmarks.length, e = names.length;
  const rows = (name: string, width: number) =>
    list(given[name], name).map((row) => {
      const found = indices(row, n, name);
      if (found.length !== width) throw unfit(`its ${name} are not whole`);
      return found;
    });
  const squared = list(given['squared'], 'squared').map((name) => names.indexOf(name));
  indices(squared, e, 'squared');
  const identity = object(given['identity'], 'identity');
  const modes = Number(list(identity['shape'], 'identity')[2]);
  const face: Face = {
    count: n, codes: e, modes, landmarks, squared,
    rigidRows: indices(given['rigid_rows'], n, 'rigid_rows'),
    gaps: rows('gaps', 2) as [number, number][],
    irisRows: rows('iris_rows', 3) as [number, number, number][],
    neutral: array(given, 'neutral', [n, 3]),
    identity: array(given, 'identity', [n, 3, modes]),
    expression: array(given, 'expression', [n, 3, e]),
    squares: array(given, 'squares', [n, 3, squared.length]),
    turns: array(given, 'turns', [n, 3, 4]),
    normals: array(given, 'normals', [n, 3]),
    weights: array(given, 'weights', [n]),
  };
  const [prior, near, smoothing, joints, constants] = ['prior', 'near', 'smoothing', 'joints', 'constants'].map(
    (name) => object(given[name], name),
  ) as [Fields, Fields, Fields, Fields, Fields];
  return {
    names: names.map(String),
    irisCentres: indices(given['iris_centres'], POINTS, 'iris_centres') as [number, number],
    face,
    prior: {
      l1: array(prior, 'l1', [e]),
      epsilon: number(prior, 'epsilon'),
      quadratic: array(prior, 'quadratic', [e, e]),
      exclusion: array(prior, 'exclusion', [e, e]),
      lips: number(prior, 'lips'),
      close: indices([prior['close']], e, 'prior')[0]!,
      jaw: indices([prior['jaw']], e, 'prior')[0]!,
    },
    near: { code: number(near, 'code'), rotation: number(near, 'rotation'), translation: numbers(near, 'translation', 3) },
    smoothing: {
      coefficients: array(smoothing, 'coefficients', [e, 2]),
      turn: numbers(smoothing, 'turn', 2),
      place: numbers(smoothing, 'place', 2),
      speedHz: number(smoothing, 'speed_hz'),
    },
    joints: { neck: numbers(joints, 'neck', 3), head: numbers(joints, 'head', 3) },
    constants: Object.fromEntries(NUMBERS.map((name) => [name, number(constants, name)])) as Model['constants'],
    focalRange: numbers(constants, 'focal_range', 2) as [number, number],
  };
}

type Fields = Record<string, unknown>;

function unfit(what: string): AssetError {
  return new AssetError(`The tracker's model cannot be used: ${what}. Install or export it again.`);
}

function object(value: unknown, name: string): Fields {
  if (!isObject(value)) throw unfit(`it has no ${name}`);
  return value;
}

function list(value: unknown, name: string): unknown[] {
  if (!Array.isArray(value)) throw unfit(`it has no ${name}`);
  return value;
}

function number(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number' || !Number.isFinite(value)) throw unfit(`it has no ${name}`);
  return value;
}

function numbers(fields: Fields, name: string, count: number): number[] {
  const values = list(fields[name], name);
  if (values.length !== count || !values.every(Number.isFinite)) throw unfit(`its ${name} are not whole`);
  return values as number[];
}

function indices(value: unknown, below: number, name: string): number[] {
  const values = list(value, name);
  if (!values.every((index) => Number.isInteger(index) && (index as number) >= 0 && (index as number) < below))
    throw unfit(`its ${name} point nowhere`);
  return values as number[];
}

function array(fields: Fields, name: string, shape: number[]): Float64Array {
  const { shape: given, values } = object(fields[name], name);
  const count = shape.reduce((product, size) => product * size, 1);
  if (String(given) !== String(shape) || !Array.isArray(values) || values.length !== count || !values.every(Number.isFinite))
    throw unfit(`its ${name} are not whole`);
  return Float64Array.from(values as number[]);
}
