// Sound in pieces of any size to mouth codes at 50 Hz (avatar3d/audio/stream.py).
import { FeatureStream, HOP, RATE_HZ, WINDOW } from './features.ts';
import { LOOKAHEAD, VoiceNetwork, type VoiceModel } from './network.ts';
import { energyOf, perform, PLAIN_STYLE, type Style } from './style.ts';

export const FRAME_S = (2 * HOP) / RATE_HZ; // 20 ms
// Output j is known at the end of feature frame 2 j + 1 and means LOOKAHEAD frames before.
const FIRST_S = (HOP + WINDOW) / RATE_HZ - LOOKAHEAD * FRAME_S;
const EARLY = Math.ceil(-FIRST_S / FRAME_S - 0.5); // outputs about the time before the sound
/** Frame k is at `k * FRAME_S + START_S` seconds from the first sample. */
export const START_S = FIRST_S + EARLY * FRAME_S;

export interface VoiceFrame {
  outputs: Float32Array; // of the network
  coefficients: Float32Array; // [52]
  energy: number; // 0..1: how much is being said
}

export class VoiceStream {
  private readonly features = new FeatureStream();
  private readonly network: VoiceNetwork;
  private odd: Float32Array | null = null;
  private early = EARLY;
  private samples = 0;
  private frames = 0;

  /** `style` may be changed while the stream runs. */
  constructor(private readonly model: VoiceModel, readonly style: Style = { ...PLAIN_STYLE }) {
    this.network = new VoiceNetwork(model);
  }

  /** The next samples: mono, 16 kHz, in -1..1. Frames come when their look-ahead has been heard. */
  push(samples: Float32Array): VoiceFrame[] {
    this.samples += samples.length;
    const out: VoiceFrame[] = [];
    for (const features of this.features.push(samples)) {
      if (this.odd === null) {
        this.odd = features;
        continue;
      }
      const outputs = this.network.step(this.odd, features);
      this.odd = null;
      if (this.early-- > 0) continue;
      out.push({ outputs, coefficients: perform(outputs, this.style, this.model.calibration), energy: energyOf(outputs) });
    }
    this.frames += out.length;
    return out;
  }

  /** A frame's coefficients in the style as it is now. */
  performed(frame: VoiceFrame): Float32Array {
    return perform(frame.outputs, this.style, this.model.calibration);
  }

  /** The frames whose look-ahead reaches beyond the end of the sound: silence follows it. */
  finish(): VoiceFrame[] {
    const wanted = Math.ceil(this.samples / RATE_HZ / FRAME_S - 1e-9) + 1;
    const missing = Math.max(0, wanted - this.frames);
    return this.push(new Float32Array((LOOKAHEAD + 4 + missing) * 2 * HOP)).slice(0, missing);
  }
}
