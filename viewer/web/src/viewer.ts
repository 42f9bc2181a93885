// A canvas with avatars in it: camera, loop, detail by frame time.
import { Avatar } from './avatar.ts';
import { AssetError } from './container.ts';
import { Events } from './events.ts';
import { lookAt, perspective, type Mat4, type Vec3 } from './math.ts';
import { GraphicsError, Renderer, type FrameStats } from './renderer.ts';

export interface ViewerOptions {
  /** Pixels of the picture per CSS pixel, at most; the screen's own up to 2 if not given. */
  pixelRatio?: number;
  /** sRGB 0..1 with alpha; transparent if not given. */
  background?: [number, number, number, number];
}

export interface OrbitCamera {
  yaw: number; // radians toward the subject's left
  pitch: number; // up
  zoom: number; // 1: head and shoulders fill the shorter side
  pan: [number, number]; // metres right and up, in the picture's plane
}

export interface ViewerEvents extends Record<string, unknown> {
  /** After each picture. */
  frame: FrameStats & { frameMs: number; count: number };
  /** The graphics driver took the context away (true) or gave it back (false). */
  lost: boolean;
}

const NEAR_M = 0.02, FAR_M = 50;
// Automatic detail: fewer Gaussians above the first, more below the second; ms between frames.
const SLOW_MS = 34, FAST_MS = 19;

export class Viewer extends Events<ViewerEvents> {
  readonly gl: WebGL2RenderingContext;
  readonly avatars: Avatar[] = [];
  readonly camera: OrbitCamera = { yaw: 0, pitch: 0, zoom: 1, pan: [0, 0] };
  background: [number, number, number, number];
  /** Draw fewer Gaussians while frames take too long. */
  autoDetail = false;
  renderer: Renderer;
  /** A camera of your own instead of the orbit's: world to eye (looking along -Z), projection. */
  cameraOverride: { view: Mat4; projection: Mat4 } | null = null;
  /** Someone else draws, such as a headset's session. */
  suspended = false;
  private dirty = true;
  private drawn = false;
  private request = 0;
  private last = 0;
  private pace = 25; // ms between frames, a moving mean
  private sincePaceChange = 0;
  private readonly observer: ResizeObserver;
  private readonly maxPixelRatio: number | undefined;

  constructor(
    readonly canvas: HTMLCanvasElement,
    options: ViewerOptions = {},
  ) {
    super();
    const gl = canvas.getContext('webgl2', {
      antialias: false, // splats have soft edges
      alpha: true,
      depth: true,
      premultipliedAlpha: true,
      powerPreference: 'high-performance',
    });
    if (!gl) throw new GraphicsError('This browser has no WebGL2, which drawing needs; use a current browser, or turn on hardware acceleration.');
    this.gl = gl;
    this.background = options.background ?? [0, 0, 0, 0];
    this.maxPixelRatio = options.pixelRatio;
    this.renderer = new Renderer(gl);
    canvas.addEventListener('webglcontextlost', (event) => {
      event.preventDefault();
      this.suspended = true;
      this.emit('lost', true);
    });
    canvas.addEventListener('webglcontextrestored', () => {
      const { overlays, cull } = this.renderer;
      this.renderer = new Renderer(gl);
      Object.assign(this.renderer, { overlays, cull });
      this.avatars.forEach((avatar) => this.renderer.add(avatar));
      this.suspended = false;
      this.invalidate();
      this.emit('lost', false);
    });
    this.observer = new ResizeObserver(() => this.invalidate());
    this.observer.observe(canvas);
    this.request = requestAnimationFrame(this.tick);
  }

  /** Load an avatar and show it; `replace` takes the others away. */
  async load(
    source: string | ArrayBuffer | Uint8Array | Blob,
    options: { replace?: boolean; onProgress?: (loaded: number, total: number) => void; signal?: AbortSignal } = {},
  ): Promise<Avatar> {
    const bytes =
      typeof source === 'string'
        ? await download(source, options.onProgress, options.signal)
        : source instanceof Blob
          ? await source.arrayBuffer()
          : source;
    const avatar = await Avatar.read(bytes);
    if (options.replace) [...this.avatars].forEach((other) => this.remove(other));
    this.add(avatar);
    return avatar;
  }

  add(avatar: Avatar): void {
    this.renderer.add(avatar);
    this.avatars.push(avatar);
    this.invalidate();
  }

  remove(avatar: Avatar): void {
    this.renderer.remove(avatar);
    const index = this.avatars.indexOf(avatar);
    if (index >= 0) this.avatars.splice(index, 1);
    this.invalidate();
  }

  /** Draw again soon, also when no avatar has moved. */
  invalidate(): void {
    this.dirty = true;
  }

  resetCamera(): void {
    Object.assign(this.camera, { yaw: 0, pitch: 0, zoom: 1, pan: [0, 0] });
    this.invalidate();
  }

  /** Eye, view and projection of the orbit (avatar3d/animation/view.py: portrait_camera). */
  cameraMatrices(width: number, height: number): { view: Mat4; projection: Mat4; eye: Vec3; forward: Vec3 } {
    const own = this.cameraOverride;
    if (own) return { ...own, ...eyeOf(own.view) };
    const { yaw, pitch, zoom, pan } = this.camera;
    const { target, heightM, distanceM } = this.avatars[0]?.asset.view ?? {
      target: [0, -0.035, -0.05] as Vec3, heightM: 0.37, distanceM: 0.9,
    };
    const around: Vec3 = [Math.sin(yaw) * Math.cos(pitch), Math.sin(pitch), Math.cos(yaw) * Math.cos(pitch)];
    const centre: Vec3 = [
      target[0] + pan[0] * Math.cos(yaw) - pan[1] * Math.sin(pitch) * Math.sin(yaw),
      target[1] + pan[1] * Math.cos(pitch),
      target[2] - pan[0] * Math.sin(yaw) - pan[1] * Math.sin(pitch) * Math.cos(yaw),
    ];
    const eye: Vec3 = [centre[0] + distanceM * around[0], centre[1] + distanceM * around[1], centre[2] + distanceM * around[2]];
    const half = heightM / (2 * distanceM * zoom);
    const shorter = Math.min(width, height);
    return {
      eye,
      forward: [-around[0], -around[1], -around[2]],
      view: lookAt(eye, centre),
      projection: perspective((half * width) / shorter, (half * height) / shorter, NEAR_M, FAR_M),
    };
  }

  /** Draw now; needed only before the canvas is read (screenshots), else the loop does it. */
  render(): void {
    const { gl, canvas } = this;
    const ratio = Math.min(this.maxPixelRatio ?? 2, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(canvas.clientWidth * ratio) || canvas.width);
    const height = Math.max(1, Math.round(canvas.clientHeight * ratio) || canvas.height);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const { view, projection, eye, forward } = this.cameraMatrices(width, height);
    this.renderer.prepare(eye, forward);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    const [r, g, b, a] = this.background;
    gl.clearColor(r * a, g * a, b * a, a);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    this.renderer.draw({ view, projection, x: 0, y: 0, width, height });
    this.dirty = false;
    this.drawn = true;
  }

  /** Move the avatars to `now` (seconds); true when one has changed. */
  advance(now: number): boolean {
    const elapsed = this.last > 0 ? Math.min(now - this.last, 0.25) : 0;
    this.last = now;
    let changed = false;
    const started = performance.now();
    for (const avatar of this.avatars) if (avatar.update(now, elapsed)) changed = true;
    this.renderer.stats.deformMs = performance.now() - started;
    return changed;
  }

  dispose(): void {
    cancelAnimationFrame(this.request);
    this.observer.disconnect();
    this.renderer.dispose();
    this.suspended = true;
  }

  private readonly tick = (time: number): void => {
    this.request = requestAnimationFrame(this.tick);
    if (this.suspended) return;
    const before = this.last;
    const changed = this.advance(time / 1000);
    if (!changed && !this.dirty) return;
    if (!this.drawn && this.avatars.length === 0) return; // an empty stage needs no graphics
    this.render();
    const frameMs = 1000 * (time / 1000 - before);
    if (changed) this.adapt(frameMs);
    this.emit('frame', { ...this.renderer.stats, frameMs, count: this.avatars[0]?.count ?? 0 });
  };

  private adapt(frameMs: number): void {
    if (!this.autoDetail || !(frameMs > 0) || frameMs > 1000) return;
    this.pace += 0.1 * (frameMs - this.pace);
    if (++this.sincePaceChange < 20) return;
    const factor = this.pace > SLOW_MS ? 0.8 : this.pace < FAST_MS ? 1.15 : 1;
    if (factor === 1) return;
    this.sincePaceChange = 0;
    for (const avatar of this.avatars) {
      const least = Math.min(5000, avatar.asset.count);
      avatar.count = Math.max(least, avatar.count * factor);
    }
  }
}

function eyeOf(view: Mat4): { eye: Vec3; forward: Vec3 } {
  const row = (i: number) => -(view[4 * i]! * view[12]! + view[4 * i + 1]! * view[13]! + view[4 * i + 2]! * view[14]!);
  return { eye: [row(0), row(1), row(2)], forward: [-view[2]!, -view[6]!, -view[10]!] };
}

async function download(
  url: string, onProgress?: (loaded: number, total: number) => void, signal?: AbortSignal,
): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetch(url, signal ? { signal } : {});
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new AssetError(`The avatar could not be fetched from ${url}: no connection, or the host forbids it.`);
  }
  if (!response.ok) throw new AssetError(`The avatar could not be fetched from ${url}: the host says ${response.status}.`);
  const total = Number(response.headers.get('content-length')) || 0;
  if (!response.body) return new Uint8Array(await response.arrayBuffer());
  const parts: Uint8Array[] = [];
  let loaded = 0;
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      loaded += value.length;
      onProgress?.(loaded, total);
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new AssetError(`The avatar could not be fetched from ${url}: the connection broke off.`);
  }
  const whole = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
