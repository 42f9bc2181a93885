// Pictures and films of what is on the stage, background included.
import type { Viewer } from '../viewer.ts';

export interface Backdrop {
  picture: HTMLImageElement | null;
}

/** The stage on a 2D canvas; `alpha` keeps a transparent background so. */
function compose(viewer: Viewer, backdrop: Backdrop, target: HTMLCanvasElement): void {
  const { width, height } = viewer.canvas;
  if (target.width !== width || target.height !== height) Object.assign(target, { width, height });
  const context = target.getContext('2d')!;
  context.clearRect(0, 0, width, height);
  if (backdrop.picture) cover(context, backdrop.picture, width, height);
  context.drawImage(viewer.canvas, 0, 0);
}

function cover(context: CanvasRenderingContext2D, image: HTMLImageElement, width: number, height: number): void {
  const scale = Math.max(width / image.naturalWidth, height / image.naturalHeight);
  const [w, h] = [image.naturalWidth * scale, image.naturalHeight * scale];
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h);
}

export async function screenshot(viewer: Viewer, backdrop: Backdrop): Promise<Blob> {
  viewer.render(); // the canvas is readable in the task that drew it
  const target = document.createElement('canvas');
  compose(viewer, backdrop, target);
  const blob = await new Promise<Blob | null>((done) => target.toBlob(done, 'image/png'));
  if (!blob) throw new Error('The picture could not be made; the browser is short of memory.');
  return blob;
}

export class Recording {
  private readonly canvas = document.createElement('canvas');
  private readonly recorder: MediaRecorder;
  private readonly parts: Blob[] = [];
  private readonly stopDrawing: () => void;

  constructor(viewer: Viewer, backdrop: Backdrop) {
    const type = ['video/webm;codecs=vp9', 'video/webm;codecs=vp8', 'video/webm', 'video/mp4'].find(
      (kind) => typeof MediaRecorder !== 'undefined' && MediaRecorder.isTypeSupported(kind),
    );
    if (!type) throw new Error('This browser cannot record; use Chrome, Edge or Firefox.');
    compose(viewer, backdrop, this.canvas);
    const stream = this.canvas.captureStream(30);
    this.recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 8e6 });
    this.recorder.ondataavailable = ({ data }) => void (data.size && this.parts.push(data));
    const off = viewer.on('frame', () => compose(viewer, backdrop, this.canvas));
    const timer = setInterval(() => viewer.invalidate(), 30); // also what stands still is a film
    this.stopDrawing = () => (off(), clearInterval(timer));
    this.recorder.start(1000);
  }

  get extension(): string {
    return this.recorder.mimeType.includes('mp4') ? 'mp4' : 'webm';
  }

  async stop(): Promise<Blob> {
    const ended = new Promise((done) => (this.recorder.onstop = done));
    this.recorder.stop();
    await ended;
    this.stopDrawing();
    return new Blob(this.parts, { type: this.recorder.mimeType });
  }
}

export function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
