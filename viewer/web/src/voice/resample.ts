// Sound of any rate to 16 kHz, in pieces of any size: a windowed sinc.
import { RATE_HZ } from './features.ts';

const CROSSINGS = 12; // zeros of the sinc on either side
const STEPS = 64; // of its table between two zeros

export class Resampler {
  private readonly step: number; // samples heard for each that is given
  private readonly reach: number; // samples on either side that count
  private readonly scale: number; // zeros a sample
  private readonly table = new Float32Array(CROSSINGS * STEPS + 2);
  private heard = new Float32Array(0);
  private next = 0; // where the next sample lies, in samples from the first of `heard`

  constructor(rateHz: number) {
    this.step = rateHz / RATE_HZ;
    this.scale = Math.min(1, 0.95 / this.step); // what 16 kHz cannot hold is left out
    this.reach = Math.ceil(CROSSINGS / this.scale);
    for (let i = 0; i <= CROSSINGS * STEPS; i++) {
      const x = i / STEPS, share = x / CROSSINGS;
      const window = 0.42 + 0.5 * Math.cos(Math.PI * share) + 0.08 * Math.cos(2 * Math.PI * share); // Blackman's
      this.table[i] = this.scale * window * (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
    }
  }

  push(samples: Float32Array): Float32Array {
    const all = new Float32Array(this.heard.length + samples.length);
    all.set(this.heard);
    all.set(samples, this.heard.length);
    const out = new Float32Array(Math.max(0, Math.ceil((all.length - this.reach - this.next) / this.step)));
    for (let n = 0; n < out.length; n++, this.next += this.step) {
      const first = Math.max(0, Math.ceil(this.next - this.reach)), last = Math.floor(this.next + this.reach);
      let sum = 0;
      for (let i = first; i <= last; i++) {
        const x = Math.min(CROSSINGS, Math.abs(i - this.next) * this.scale) * STEPS, k = Math.floor(x);
        sum += all[i]! * (this.table[k]! + (x - k) * (this.table[k + 1]! - this.table[k]!));
      }
      out[n] = sum;
    }
    const done = Math.max(0, Math.min(all.length, Math.floor(this.next) - this.reach));
    this.heard = all.slice(done);
    this.next -= done;
    return out;
  }
}
