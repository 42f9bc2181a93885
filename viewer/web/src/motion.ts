// Motions in the browser: JSON (`avatar3d view --motion`, docs/viewer.md) and Live Link Face CSV
// (avatar3d/live_link_face.py).
import { AssetError, isObject } from './container.ts';
import { interpolate, neutralCode, type Code } from './code.ts';
import { IDENTITY_QUAT, quatFromAngles, quatNormalize, type Quat, type Vec3 } from './math.ts';
import { ARKIT_NAMES } from './names.ts';

export interface Motion {
  name: string;
  framesPerSecond: number;
  codes: Code[];
}

const MAX_FRAMES = 200_000;
const DEFAULT_TIMECODE_RATE = 60;

/** Read a motion's text by what it is; an `AssetError` says what is wrong with any other. */
export function readMotion(text: string, name: string): Motion {
  return /^\s*\{/.test(text) ? fromJson(text, name) : fromCsv(text, name);
}

export function motionAt(motion: Motion, seconds: number, coefficientCount: number): Code {
  const last = motion.codes.length - 1;
  const position = Math.min(last, Math.max(0, seconds * motion.framesPerSecond));
  const before = Math.floor(position);
  const code = interpolate(
    motion.codes[before]!, motion.codes[Math.min(last, before + 1)]!, position - before,
  );
  const coefficients = new Float32Array(coefficientCount);
  coefficients.set(code.coefficients.subarray(0, coefficientCount));
  return { ...code, coefficients };
}

function fromJson(text: string, name: string): Motion {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new AssetError(`${name} is not JSON.`);
  }
  if (!isObject(value) || value['format'] !== 'avatar3d-motion' || value['format_version'] !== 1)
    throw new AssetError(`${name} is not a motion of avatar3d; expected its format avatar3d-motion, version 1.`);
  const rate = value['frames_per_second'];
  const names = value['names'];
  if (typeof rate !== 'number' || !(rate > 0 && rate <= 1000))
    throw new AssetError(`${name} does not say its frames a second.`);
  if (!Array.isArray(names) || ARKIT_NAMES.some((expected, i) => names[i] !== expected))
    throw new AssetError(`${name}: its coefficients are not the 52 of ARKit in Apple's order.`);
  const rows = (key: string, width: number): number[][] => {
    const table = value[key];
    const good = (row: unknown) =>
      Array.isArray(row) && row.length === width && row.every((v) => Number.isFinite(v));
    if (!Array.isArray(table) || !table.every(good))
      throw new AssetError(`${name} has no sound ${key}; expected rows of ${width} numbers.`);
    return table as number[][];
  };
  const coefficients = rows('coefficients', names.length);
  const head = rows('head_rotation', 4), neck = rows('neck_rotation', 4);
  const translation = rows('head_translation', 3);
  const count = coefficients.length;
  if (count < 1 || count > MAX_FRAMES || [head, neck, translation].some((t) => t.length !== count))
    throw new AssetError(`${name} has ${count} frames, or not all of its rows.`);
  const codes = coefficients.map((row, i) => ({
    coefficients: Float32Array.from(row, clip),
    head: quatNormalize(head[i] as unknown as Quat),
    translation: translation[i] as unknown as Vec3,
    neck: quatNormalize(neck[i] as unknown as Quat),
  }));
  return { name, framesPerSecond: rate, codes };
}

function fromCsv(text: string, name: string): Motion {
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/).filter((line) => line.trim() !== '');
  const first = lines[0] ?? '';
  const separator = first.split(';').length > first.split(',').length ? ';' : ',';
  const header = first.split(separator).map((cell) => cell.trim().toLowerCase());
  const columns = ARKIT_NAMES.map((arkit) => header.indexOf(arkit.toLowerCase()));
  const known = columns.filter((column) => column >= 0).length;
  if (known < ARKIT_NAMES.length / 2)
    throw new AssetError(
      `${name} is not a Live Link Face CSV: expected a header with the 52 ARKit names, found ${known} of them.`,
    );
  if (lines.length > MAX_FRAMES) throw new AssetError(`${name} has more than ${MAX_FRAMES} rows.`);
  const angleColumns = ['headyaw', 'headpitch', 'headroll'].map((key) => header.indexOf(key));
  const timeColumn = header.indexOf('timecode');
  const needed = [...columns, ...angleColumns].filter((column) => column >= 0);
  const values: { coefficients: number[]; angles: number[]; timecode: string }[] = [];
  lines.slice(1).forEach((line, index) => {
    const cells = line.split(separator).map((cell) => cell.trim());
    if (needed.some((column) => !cells[column])) return; // the app saw no face
    const number = (column: number) => {
      const value = column < 0 ? 0 : Number(cells[column]);
      if (!Number.isFinite(value)) throw new AssetError(`${name}, line ${index + 2}: ${cells[column]!.slice(0, 40)} is not a number.`);
      return value;
    };
    values.push({
      coefficients: columns.map(number),
      angles: angleColumns.map(number),
      timecode: timeColumn < 0 ? '' : (cells[timeColumn] ?? ''),
    });
  });
  if (values.length === 0) throw new AssetError(`${name} has no row with values.`);
  const widest = Math.max(...values.map((row) => Math.max(...row.coefficients)));
  if (widest > 2)
    throw new AssetError(`${name}: coefficients reach ${widest}, expected 0 to 1 (percentages must be divided by 100).`);
  const degrees = values.some((row) => row.angles.some((angle) => Math.abs(angle) > Math.PI));
  const codes = values.map(({ coefficients, angles }) => {
    const [yaw, pitch, roll] = angles.map((angle) => (degrees ? (angle * Math.PI) / 180 : angle));
    const head = angles.every((angle) => angle === 0) ? IDENTITY_QUAT : quatFromAngles(yaw!, pitch!, roll!);
    return { ...neutralCode(0), coefficients: Float32Array.from(coefficients, clip), head, neck: head };
  });
  const times = seconds(values.map((row) => row.timecode), name);
  if (times === null || codes.length === 1) return { name, framesPerSecond: DEFAULT_TIMECODE_RATE, codes };
  return atEvenRate(codes, times, name);
}

/** Seconds of timecodes HH:MM:SS:FF.mmm or HH:MM:SS.mmm; null where there are none. */
function seconds(timecodes: string[], name: string): number[] | null {
  if (timecodes.every((text) => text === '')) return null;
  const parsed = timecodes.map((text) => {
    const match = /^(\d{1,3}):(\d{1,2}):(\d{1,2}(?:\.\d+)?)(?:[:;](\d{1,3}(?:\.\d+)?))?$/.exec(text);
    if (!match) throw new AssetError(`${name}: ${text.slice(0, 40)} is not a timecode, expected HH:MM:SS:FF.mmm.`);
    return {
      second: 3600 * Number(match[1]) + 60 * Number(match[2]) + Number(match[3]),
      frame: Number(match[4] ?? 0),
    };
  });
  const rate = timecodeRate(parsed);
  const times = parsed.map(({ second, frame }) => second + frame / rate);
  for (let i = 1, day = 0; i < times.length; i++) {
    if (times[i]! + day - times[i - 1]! < -43200) day += 86400; // past midnight
    times[i]! += day;
    if (!(times[i]! > times[i - 1]!))
      throw new AssetError(`${name}: time does not go forward at row ${i + 2}; sort or repair the timecodes.`);
  }
  return times;
}

/** How many frames are counted to a second, from the rows where the second changes. */
function timecodeRate(rows: { second: number; frame: number }[]): number {
  const most = Math.floor(Math.max(...rows.map((row) => row.frame)) + 1);
  const across: number[] = [], within: number[] = [];
  for (let i = 1; i < rows.length; i++) {
    const a = rows[i - 1]!, b = rows[i]!;
    if (b.second - a.second === 1) across.push(a.frame - b.frame);
    else if (b.second === a.second && b.frame > a.frame) within.push(b.frame - a.frame);
  }
  if (across.length === 0) return Math.max(DEFAULT_TIMECODE_RATE, most);
  const step = within.length ? median(within) : 1;
  return Math.max(Math.round(step + median(across)), most, 1);
}

function atEvenRate(codes: Code[], times: number[], name: string): Motion {
  const steps = times.slice(1).map((time, i) => time - times[i]!);
  const mean = (times.at(-1)! - times[0]!) / steps.length;
  const even = times.every((time, i) => Math.abs(time - times[0]! - mean * i) < 0.25 * mean);
  const step = even ? mean : median(steps);
  const framesPerSecond = Math.min(1000, 1 / step);
  if (even) return { name, framesPerSecond, codes };
  const count = 1 + Math.round((times.at(-1)! - times[0]!) / step);
  if (count > MAX_FRAMES) throw new AssetError(`${name}: its timecodes span hours; repair or cut them.`);
  const out: Code[] = [];
  for (let i = 0, at = 0; i < count; i++) {
    const time = times[0]! + i * step;
    while (at < codes.length - 2 && times[at + 1]! < time) at++;
    const weight = (time - times[at]!) / (times[at + 1]! - times[at]!);
    out.push(interpolate(codes[at]!, codes[at + 1]!, Math.min(1, Math.max(0, weight))));
  }
  return { name, framesPerSecond, codes: out };
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function clip(value: number): number {
  return Math.min(1, Math.max(0, value));
}
