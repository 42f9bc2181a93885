// A head on its own: it blinks and sways a little, always the same (avatar3d/animation/idle.py).
import { neutralCode, type Code } from './code.ts';
import { quatFromVector } from './math.ts';
import { ARKIT_NAMES } from './names.ts';

const BLINK_EVERY_S = 3.4;
const CLOSING_S = 0.09, OPENING_S = 0.17;
const SWAY = [0.035, 0.07, 0.02] as const; // pitch, yaw, roll, radians
const PERIODS_S = [4.1, 5.3, 6.7] as const;
const LEFT = ARKIT_NAMES.indexOf('eyeBlinkLeft'), RIGHT = ARKIT_NAMES.indexOf('eyeBlinkRight');

export function idleCode(seconds: number): Code {
  const code = neutralCode();
  const since = mod(seconds - 0.6 * BLINK_EVERY_S, BLINK_EVERY_S);
  const lids = smooth(since / CLOSING_S) - smooth((since - CLOSING_S) / OPENING_S);
  code.coefficients[LEFT] = code.coefficients[RIGHT] = lids;
  const [x, y, z] = SWAY.map((amount, i) => amount * Math.sin((2 * Math.PI * seconds) / PERIODS_S[i]!));
  code.head = code.neck = quatFromVector(x!, y!, z!);
  return code;
}

const mod = (a: number, b: number) => a - b * Math.floor(a / b);

function smooth(position: number): number {
  const x = Math.min(1, Math.max(0, position));
  return x * x * (3 - 2 * x);
}
