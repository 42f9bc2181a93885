import { expect, test } from 'vitest';
import { readMotion, motionAt } from '../src/motion.ts';
import { quatFromAngles, quatFromVector, quatMultiply, quatToAngles, quatToRows, quatToVector, slerp } from '../src/math.ts';
import { parse } from '../src/page/connection.ts';
import { readState, writeState } from '../src/page/state.ts';
import { ARKIT_NAMES } from '../src/names.ts';
import { random } from './synthetic.ts';

const header = ['Timecode', 'BlendShapeCount', ...ARKIT_NAMES.map((n) => n[0]!.toUpperCase() + n.slice(1)), 'HeadYaw', 'HeadPitch', 'HeadRoll'];
const row = (timecode: string, value: number | string) => [timecode, 61, ...ARKIT_NAMES.map(() => value), 0.1, 0.2, 0.3].join();

test('timecodes tell the rate, frames within the second or thousandths', () => {
  const at = (codes: string[]) => readMotion([header.join(), ...codes.map((c) => row(c, 0.5))].join('\n'), 'm').framesPerSecond;
  expect(at(['00:00:00:29.000', '00:00:01:00.000'])).toBeCloseTo(30);
  expect(at(['23:59:59.980', '00:00:00.000', '00:00:00.020'])).toBeCloseTo(50);
  expect(at(['00:00:01.000'])).toBe(60);
});

test('rows without a face are left out, uneven times filled', () => {
  const text = [header.join(), row('00:00:00.000', 0), row('00:00:00.100', ''), row('00:00:00.200', 0.2), row('00:00:00.300', 0.3), row('00:00:00.400', 0.4)].join('\r\n');
  const motion = readMotion(text, 'm');
  expect(motion.framesPerSecond).toBeCloseTo(10);
  expect(motionAt(motion, 0.1, 52).coefficients[0]).toBeCloseTo(0.1);
  expect(motionAt(motion, 9, 60).coefficients.length).toBe(60);
});

test.each([
  ['time backwards', [header.join(), row('00:00:01.000', 0), row('00:00:00.500', 0)].join('\n'), /go forward/],
  ['percentages', [header.join(), row('', 55)].join('\n'), /divided by 100/],
  ['words', [header.join(), row('', 'much')].join('\n'), /not a number/],
  ['no rows', header.join(), /no row/],
  ['wrong json', '{"format":"avatar3d-motion","format_version":1,"frames_per_second":25,"names":[]}', /52 of ARKit/],
])('%s is told', (_, text, sentence) => {
  expect(() => readMotion(text, 'm')).toThrow(sentence);
});

test('rotations keep their laws', () => {
  const next = random(4);
  for (let trial = 0; trial < 200; trial++) {
    const [x, y, z] = [next() - 0.5, next() - 0.5, next() - 0.5].map((v) => 3 * v) as [number, number, number];
    const q = quatFromVector(x, y, z);
    quatToVector(q).forEach((v, i) => expect(v).toBeCloseTo([x, y, z][i]!, 6));
    const angles = [next() * 2 - 1, next() * 2 - 1, next() * 2 - 1] as const;
    quatToAngles(quatFromAngles(...angles)).forEach((v, i) => expect(v).toBeCloseTo(angles[i]!, 6));
    const half = slerp([1, 0, 0, 0], q, 0.5);
    quatMultiply(half, half).forEach((v, i) => expect(v).toBeCloseTo(q[i]!, 6));
    const m = quatToRows(q);
    for (let i = 0; i < 3; i++) expect(m[3 * i]! ** 2 + m[3 * i + 1]! ** 2 + m[3 * i + 2]! ** 2).toBeCloseTo(1, 9);
  }
});

test('messages are checked, whatever arrives', () => {
  expect(parse('{"type":"JobFailed","job":"a","sentence":"b"}')).toEqual({ type: 'JobFailed', job: 'a', sentence: 'b' });
  for (const text of ['', '[]', 'null', '{"type":"toString"}', '{"type":"__proto__"}', '{"type":"JobFailed","job":1,"sentence":"b"}', '{"type":"AvatarReady","url":"x","name":"y"}'])
    expect(parse(text)).toBeNull();
});

test('the state survives its link', () => {
  const state = { yaw: 0.5, pitch: -0.2, zoom: 2, pan: [0.1, 0] as [number, number], expression: { jawOpen: 0.5 }, head: [0.1, 0, 0] as [number, number, number], background: '#102030', idle: true, count: 5000, auto: true, overlays: 'gw', theme: 'dark' as const };
  expect(readState('#' + writeState(state))).toEqual(state);
});
