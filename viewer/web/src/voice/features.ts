// Sound to features: log-mel energies at 100 Hz, normalised by what was heard up to now
// (avatar3d/audio/features.py).
export const RATE_HZ = 16_000;
export const WINDOW = 400, HOP = 160, BANDS = 80;
export const FEATURES = BANDS + 1; // and the loudness against the recent peak
const FFT = 512;
const LOWEST_HZ = 40, HIGHEST_HZ = 7800, FLOOR = 1e-6;
const PEAK_START = -2, PEAK_LOWEST = -8, PEAK_RISE = 0.3, PEAK_FALL = 0.002, SPEECH_BELOW_PEAK = 4.5;
const MEAN_START = -3, MEAN_START_FRAMES = 30, MEAN_FRAMES = 400;
const SCALE = 0.4, LIMIT = 3.5, LOUDNESS_SCALE = 0.3;

const TAPER = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (WINDOW - 1)));
const FILTERS = melFilters();
const [COSINES, SINES] = [Math.cos, Math.sin].map((wave) => Float64Array.from({ length: FFT / 2 }, (_, i) => wave((2 * Math.PI * i) / FFT))) as [Float64Array, Float64Array];

/** Triangles evenly spaced on the mel scale: where each begins, and its weights. */
function melFilters(): { first: number; weights: Float32Array }[] {
  const [low, high] = [LOWEST_HZ, HIGHEST_HZ].map((hz) => 2595 * Math.log10(1 + hz / 700)) as [number, number];
  const edge = (i: number) => 700 * (10 ** ((low + ((high - low) * i) / (BANDS + 1)) / 2595) - 1);
  return Array.from({ length: BANDS }, (_, band) => {
    const [from, top, to] = [edge(band), edge(band + 1), edge(band + 2)];
    const first = Math.ceil((from * FFT) / RATE_HZ), last = Math.floor((to * FFT) / RATE_HZ);
    const weights = Float32Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => {
      const hz = ((first + i) * RATE_HZ) / FFT;
      return Math.max(0, Math.min((hz - from) / (top - from), (to - hz) / (to - top)));
    });
    return { first, weights };
  });
}

/** The natural logarithm of the energy in each band of one window of samples. */
export function logMel(samples: Float32Array, at: number, out: Float32Array): void {
  const real = new Float64Array(FFT), imaginary = new Float64Array(FFT);
  for (let i = 0; i < WINDOW; i++) real[i] = Math.fround(samples[at + i]! * TAPER[i]!);
  transform(real, imaginary);
  FILTERS.forEach(({ first, weights }, band) => {
    let energy = 0;
    for (let i = 0; i < weights.length; i++) energy += weights[i]! * (real[first + i]! ** 2 + imaginary[first + i]! ** 2);
    out[band] = Math.log(energy + FLOOR);
  });
}

/** The discrete Fourier transform in place, radix 2. */
export function transform(real: Float64Array, imaginary: Float64Array): void {
  const n = real.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j]!, real[i]!];
      [imaginary[i], imaginary[j]] = [imaginary[j]!, imaginary[i]!];
    }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const half = size >> 1, stride = FFT / size;
    for (let start = 0; start < n; start += size)
      for (let k = 0; k < half; k++) {
        const c = COSINES[k * stride]!, s = -SINES[k * stride]!;
        const a = start + k, b = a + half;
        const x = c * real[b]! - s * imaginary[b]!, y = s * real[b]! + c * imaginary[b]!;
        real[b] = real[a]! - x;
        imaginary[b] = imaginary[a]! - y;
        real[a] = real[a]! + x;
        imaginary[a] = imaginary[a]! + y;
      }
  }
}

/** Samples in pieces of any size to features, each as soon as its window is full. */
export class FeatureStream {
  private rest = new Float32Array(0);
  private readonly mean = new Float64Array(BANDS).fill(MEAN_START);
  private heard = MEAN_START_FRAMES;
  private peak = PEAK_START;

  push(samples: Float32Array): Float32Array[] {
    const all = new Float32Array(this.rest.length + samples.length);
    all.set(this.rest);
    all.set(samples, this.rest.length);
    const out: Float32Array[] = [];
    let at = 0;
    for (; at + WINDOW <= all.length; at += HOP) {
      const features = new Float32Array(FEATURES);
      logMel(all, at, features);
      this.normalise(features);
      out.push(features);
    }
    this.rest = all.slice(at);
    return out;
  }

  /** In place; what was heard is the state. */
  private normalise(features: Float32Array): void {
    let loud = 0;
    for (let band = 0; band < BANDS; band++) loud += features[band]! / BANDS;
    this.peak = loud > this.peak ? this.peak + PEAK_RISE * (loud - this.peak) : this.peak - PEAK_FALL;
    this.peak = Math.max(this.peak, PEAK_LOWEST);
    if (loud > this.peak - SPEECH_BELOW_PEAK) {
      this.heard = Math.min(this.heard + 1, MEAN_FRAMES);
      for (let band = 0; band < BANDS; band++) this.mean[band]! += (features[band]! - this.mean[band]!) / this.heard;
    }
    for (let band = 0; band < BANDS; band++)
      features[band] = Math.min(LIMIT, Math.max(-LIMIT, (features[band]! - this.mean[band]!) * SCALE));
    features[BANDS] = (loud - this.peak) * LOUDNESS_SCALE;
  }
}
