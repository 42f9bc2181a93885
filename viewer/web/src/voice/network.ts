// The voice network, one output frame of 20 ms at a time (avatar3d/audio/network.py), from the
// weights that `avatar3d` ships or that `avatar3d voice` wrote (.safetensors, half precision).
import { AssetError, readContainer, unpack, type TypedArray } from '../container.ts';
import { VOICE_CHANNELS } from '../names.ts';
import { FEATURES } from './features.ts';

const WIDTH = 128;
const DILATIONS = [1, 2, 4, 8, 1, 2, 4, 8];
const MEASURES = 7;
export const LOOKAHEAD = 5; // output frames: what a frame's output means lies so far back
export const OUTPUTS = VOICE_CHANNELS.length + MEASURES + 2; // channels, measures, closure (logit), energy
const EPSILON = 1e-5; // of the layer norm
const MAX_WEIGHT = 1e3;

interface Linear {
  weight: Float32Array; // [out, in]
  bias: Float32Array;
}
interface Block {
  dilation: number;
  norm: Linear;
  spread: Linear;
  mix: Linear;
}

/** What a network's outputs mean, as its training found it. */
export interface Calibration {
  gain: number;
  closureThreshold: number;
  rest: number[]; // [19]
}

export interface VoiceModel {
  name: string;
  stem: Linear;
  blocks: Block[];
  head: Linear;
  calibration: Calibration;
}

/** Read the bytes of a voice; an `AssetError` for anything but a sound one. */
export async function readVoice(bytes: Uint8Array): Promise<VoiceModel> {
  const { arrays, metadata } = readContainer(await unpack(bytes), 'voice');
  if (metadata['voice_version'] !== 1) throw new AssetError('This voice is of another version; write it again with avatar3d voice.');
  const array = (name: string, ...shape: number[]): Float32Array => {
    const found = arrays.get(name);
    if (!found || !(found.data instanceof Float32Array) || String(found.shape) !== String(shape) || !sound(found.data))
      throw new AssetError(`The voice is damaged: its ${name} is not what it should be.`);
    return found.data;
  };
  const linear = (name: string, outs: number, ins: number): Linear => ({ weight: array(`${name}.weight`, outs, ins), bias: array(`${name}.bias`, outs) });
  return {
    name: typeof metadata['name'] === 'string' ? metadata['name'] : 'voice',
    stem: linear('stem', WIDTH, 4 * FEATURES),
    blocks: DILATIONS.map((dilation, i) => ({
      dilation,
      norm: { weight: array(`blocks.${i}.norm.weight`, WIDTH), bias: array(`blocks.${i}.norm.bias`, WIDTH) },
      spread: linear(`blocks.${i}.spread`, WIDTH, 3 * WIDTH),
      mix: linear(`blocks.${i}.mix`, WIDTH, WIDTH),
    })),
    head: linear('head', OUTPUTS, WIDTH),
    calibration: calibrationOf(metadata),
  };
}

const sound = (values: TypedArray) => values.every((value) => Math.abs(value) <= MAX_WEIGHT);

function calibrationOf(facts: Record<string, unknown>): Calibration {
  const within = (value: unknown, low: number, high: number, plain: number) =>
    typeof value === 'number' && value >= low && value <= high ? value : plain;
  const rest = Array.isArray(facts['rest']) && facts['rest'].length === VOICE_CHANNELS.length ? (facts['rest'] as unknown[]) : VOICE_CHANNELS.map(() => 0);
  return {
    gain: within(facts['gain'], 0.1, 10, 1),
    closureThreshold: within(facts['closure_threshold'], 1e-3, 1, 0.5),
    rest: rest.map((value) => within(value, -1, 1, 0)),
  };
}

/** One running stream; a new one hears silence before. */
export class VoiceNetwork {
  private before = new Float32Array(2 * FEATURES);
  private readonly past: Float32Array[]; // each block's last 2 d + 1 normalised frames, a ring
  private frame = 0;

  constructor(private readonly model: VoiceModel) {
    this.past = model.blocks.map(({ dilation }) => new Float32Array((2 * dilation + 1) * WIDTH));
  }

  /** The outputs of the next two feature frames. */
  step(first: Float32Array, second: Float32Array): Float32Array {
    const heard = new Float32Array(4 * FEATURES);
    heard.set(this.before);
    heard.set(first, 2 * FEATURES);
    heard.set(second, 3 * FEATURES);
    this.before = heard.slice(2 * FEATURES);
    const x = gelu(apply(this.model.stem, heard));
    this.model.blocks.forEach((block, index) => {
      const past = this.past[index]!, frames = 2 * block.dilation + 1;
      past.set(normalised(x, block.norm), (this.frame % frames) * WIDTH);
      const taps = new Float32Array(3 * WIDTH);
      for (let k = 0; k < 3; k++) {
        const at = ((this.frame + 1 + k * block.dilation) % frames) * WIDTH;
        taps.set(past.subarray(at, at + WIDTH), k * WIDTH);
      }
      apply(block.mix, gelu(apply(block.spread, taps))).forEach((value, i) => (x[i]! += value));
    });
    this.frame++;
    return apply(this.model.head, x);
  }
}

function apply({ weight, bias }: Linear, x: Float32Array): Float32Array {
  const out = new Float32Array(bias.length);
  for (let o = 0, at = 0; o < out.length; o++) {
    let sum = bias[o]!;
    for (let i = 0; i < x.length; i++, at++) sum += weight[at]! * x[i]!;
    out[o] = sum;
  }
  return out;
}

function gelu(x: Float32Array): Float32Array {
  const bend = Math.sqrt(2 / Math.PI);
  for (let i = 0; i < x.length; i++) {
    const value = x[i]!;
    x[i] = 0.5 * value * (1 + Math.tanh(bend * (value + 0.044715 * value ** 3)));
  }
  return x;
}

function normalised(x: Float32Array, { weight, bias }: Linear): Float32Array {
  let mean = 0, square = 0;
  for (const value of x) mean += value / WIDTH;
  for (const value of x) square += (value - mean) ** 2 / WIDTH;
  const scale = 1 / Math.sqrt(square + EPSILON);
  return x.map((value, i) => (value - mean) * scale * weight[i]! + bias[i]!);
}
