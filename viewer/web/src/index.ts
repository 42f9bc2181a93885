// The package: `const avatar = await load('me.a3dweb', { canvas })`.
import type { Avatar } from './avatar.ts';
import { Viewer, type ViewerOptions } from './viewer.ts';

export { Avatar, type AvatarEvents, type PlayOptions } from './avatar.ts';
export type { Asset } from './asset.ts';
export { AssetError } from './container.ts';
export type { Code, Expression, Pose } from './code.ts';
export { orbit } from './orbit.ts';
export { readMotion, type Motion } from './motion.ts';
export { ARKIT_NAMES } from './names.ts';
export { GraphicsError, Renderer, type FrameStats, type Overlays, type View } from './renderer.ts';
export { readModel as readTracker, type Model as TrackerModel } from './tracker/model.ts';
export { FaceTracker, type TrackerFrame, type TrackerOptions, type TrackerStatus } from './tracker/tracker.ts';
export { Behaviour, type Extras } from './voice/behaviour.ts';
export { readVoice, type VoiceModel } from './voice/network.ts';
export { Resampler } from './voice/resample.ts';
export { VoiceStream, type VoiceFrame } from './voice/stream.ts';
export { PLAIN_STYLE, type Style } from './voice/style.ts';
export { enterVr, vrSupported, type XrOptions } from './xr.ts';
export { Viewer, type OrbitCamera, type ViewerEvents, type ViewerOptions } from './viewer.ts';

export interface LoadOptions extends ViewerOptions {
  /** Where to draw: a canvas, or a viewer that shows others already. */
  canvas: HTMLCanvasElement | Viewer;
  onProgress?: (loaded: number, total: number) => void;
}

/** Load an avatar (a URL, or the bytes of a .a3dweb file) and show it. */
export async function load(source: string | ArrayBuffer | Blob, options: LoadOptions): Promise<Avatar> {
  const viewer = options.canvas instanceof Viewer ? options.canvas : new Viewer(options.canvas, options);
  return viewer.load(source, options.onProgress ? { onProgress: options.onProgress } : {});
}
