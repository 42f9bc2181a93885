// From what the network says to coefficients: strength, emotion, lips that close on p, b, m
// (avatar3d/audio/style.py).
import { ARKIT_NAMES, EMOTIONS, VOICE_CHANNELS } from '../names.ts';
import { OUTPUTS, type Calibration } from './network.ts';

export interface Style {
  strength: number; // 0 to 3, of all that the mouth does
  jaw: number; // on top
  lips: number; // on top
  emotion: string; // of EMOTIONS
  emotionAmount: number; // 0..1
}

export const PLAIN_STYLE: Style = { strength: 1, jaw: 1, lips: 1, emotion: 'neutral', emotionAmount: 0.7 };

const MOUTH_SHARE_IN_SPEECH = 0.6, PRESSED = 0.2, JAW_OF_CLOSED = 0.6;
const LIVELY = new Set(['jawOpen', 'mouthClose', 'mouthFunnel', 'mouthPucker', 'mouthSmile', 'mouthStretch', 'mouthLowerDown', 'mouthUpperUp']);
const index = (name: string) => ARKIT_NAMES.indexOf(name as (typeof ARKIT_NAMES)[number]);
const sides = (name: string) => [index(`${name}Left`), index(`${name}Right`)];
const OF_CHANNEL = VOICE_CHANNELS.map((name) => (index(name) >= 0 ? [index(name)] : sides(name)));
const IS_MOUTH = ARKIT_NAMES.map((name) => /^(mouth|jaw|cheekPuff)/.test(name));
const OPEN = index('jawOpen'), CLOSE = index('mouthClose');
const PARTING = [...sides('mouthLowerDown'), ...sides('mouthUpperUp'), index('mouthFunnel')];
const PRESS = sides('mouthPress');

const clip = (value: number) => Math.min(1, Math.max(0, value));

/** How much is being said, 0..1. */
export const energyOf = (outputs: Float32Array) => clip(outputs[OUTPUTS - 1]!);

/** The 52 coefficients of one frame of outputs. */
export function perform(outputs: Float32Array, style: Style, calibration: Calibration): Float32Array {
  const result = new Float32Array(ARKIT_NAMES.length);
  VOICE_CHANNELS.forEach((name, channel) => {
    let value = (outputs[channel]! - calibration.rest[channel]!) * style.strength;
    if (LIVELY.has(name)) value *= calibration.gain;
    value *= name.startsWith('jaw') ? style.jaw : style.lips;
    for (const at of OF_CHANNEL[channel]!) result[at] = clip(value);
  });
  const energy = energyOf(outputs);
  for (const [name, amount] of Object.entries(EMOTIONS[style.emotion] ?? {})) {
    const at = index(name);
    const share = IS_MOUTH[at] ? 1 - (1 - MOUTH_SHARE_IN_SPEECH) * energy : 1;
    result[at] = clip(result[at]! + share * style.emotionAmount * amount);
  }
  const probability = 1 / (1 + Math.exp(-outputs[OUTPUTS - 2]!));
  const position = clip((probability / calibration.closureThreshold - 0.6) / 0.8);
  closeLips(result, position * position * (3 - 2 * position) * Math.min(1, style.strength));
  return result;
}

/** Bring the lips together by `closed`: mouthClose takes back what the jaw opens. */
function closeLips(result: Float32Array, closed: number): void {
  result[OPEN]! *= 1 - (1 - JAW_OF_CLOSED) * closed;
  for (const at of PARTING) result[at]! *= 1 - closed;
  const jaw = result[OPEN]!;
  // Never more than the jaw has opened: lips would pass through each other.
  result[CLOSE] = Math.min((1 - closed) * result[CLOSE]! + closed * jaw, jaw);
  for (const at of PRESS) result[at] = Math.max(result[at]!, PRESSED * closed);
}
