// The low level of assets: gzip around named arrays and JSON (docs/formats.md), distrusted.

/** What went wrong with a file, in a sentence for the person who chose it. */
export class AssetError extends Error {
  override name = 'AssetError';
}

export type TypedArray =
  | Float32Array
  | Uint32Array
  | Uint16Array
  | Uint8Array
  | Int16Array
  | Int8Array;

export interface Container {
  arrays: Map<string, { data: TypedArray; shape: number[] }>;
  metadata: Record<string, unknown>;
}

const MAX_BYTES = 128 * 2 ** 20; // unpacked; a hundred times an avatar, small enough to refuse
const MAX_HEADER_BYTES = 2 ** 20;
const KINDS: Record<string, { size: number; make: (b: ArrayBuffer) => TypedArray }> = {
  F16: { size: 2, make: (b) => Float32Array.from(new Uint16Array(b), fromHalf) },
  F32: { size: 4, make: (b) => new Float32Array(b) },
  U32: { size: 4, make: (b) => new Uint32Array(b) },
  U16: { size: 2, make: (b) => new Uint16Array(b) },
  I16: { size: 2, make: (b) => new Int16Array(b) },
  U8: { size: 1, make: (b) => new Uint8Array(b) },
  I8: { size: 1, make: (b) => new Int8Array(b) },
};

/** The value of an IEEE half. */
function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
}

/** Undo gzip where it is there; hosts may have undone it already. */
export async function unpack(bytes: Uint8Array): Promise<Uint8Array> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(new DecompressionStream('gzip'));
  const reader = stream.getReader();
  const parts: Uint8Array[] = [];
  let total = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      total += value.length;
      if (total > MAX_BYTES) throw new AssetError('The file unpacks to more than an avatar can be.');
      parts.push(value);
    }
  } catch (error) {
    void reader.cancel().catch(() => undefined);
    if (error instanceof AssetError) throw error;
    throw new AssetError('The file is damaged or not complete: it cannot be unpacked.');
  }
  const whole = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Read the container; an `AssetError` for anything but a sound one. */
export function readContainer(bytes: Uint8Array, kind: 'avatar' | 'voice' = 'avatar'): Container {
  const notOurs = () => new AssetError(NOT_OURS[kind]);
  if (bytes.length < 8) throw notOurs();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerBytes = view.getUint32(0, true);
  if (view.getUint32(4, true) !== 0 || headerBytes > MAX_HEADER_BYTES) throw notOurs();
  const start = 8 + headerBytes;
  if (start > bytes.length) throw damaged('its header is cut off');
  const header = parseObject(bytes.subarray(8, start), 'header');
  const texts = header['__metadata__'];
  const text = isObject(texts) ? texts['avatar3d'] : undefined;
  if (typeof text !== 'string') throw notOurs();
  const metadata = parseObject(new TextEncoder().encode(text), 'description');
  const arrays: Container['arrays'] = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    arrays.set(name, readArray(name, entry, bytes.subarray(start)));
  }
  return { arrays, metadata };
}

function readArray(name: string, entry: unknown, data: Uint8Array) {
  if (!isObject(entry)) throw damaged(`array ${short(name)} is not described`);
  const kind = typeof entry['dtype'] === 'string' ? KINDS[entry['dtype']] : undefined;
  const shape = entry['shape'];
  const offsets = entry['data_offsets'];
  if (kind === undefined || !isSizes(shape) || shape.length > 4 || !isSizes(offsets))
    throw damaged(`array ${short(name)} is not described`);
  const [begin, end] = offsets;
  const count = shape.reduce((product, size) => product * size, 1);
  if (begin === undefined || end === undefined || offsets.length !== 2 || end > data.length)
    throw damaged(`array ${short(name)} is cut off`);
  if (end - begin !== count * kind.size) throw damaged(`array ${short(name)} has the wrong size`);
  const copy = new ArrayBuffer(end - begin); // aligned, and free of the file's buffer
  new Uint8Array(copy).set(data.subarray(begin, end));
  return { data: kind.make(copy), shape };
}

function parseObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw damaged(`its ${what} is not JSON`);
  }
  if (!isObject(value)) throw damaged(`its ${what} is not a JSON object`);
  return value;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return (
    Array.isArray(value) &&
    value.every((size) => Number.isInteger(size) && size >= 0 && size <= MAX_BYTES)
  );
}

export function damaged(what: string): AssetError {
  return new AssetError(`The file is damaged: ${what}.`);
}

const NOT_OURS = {
  avatar: 'This is not an avatar for the viewer; expected a file named *.a3dweb.',
  voice: 'This is no voice; expected a .safetensors file of avatar3d.',
};

function short(name: string): string {
  return JSON.stringify(name.slice(0, 40));
}
