// Pointer, wheel and keys move the camera; with the pose modifier they turn the head instead.
import type { Viewer } from './viewer.ts';

export interface OrbitOptions {
  /** Called instead of orbiting while `poses()` is true: radians right and up. */
  onPose?: (yaw: number, pitch: number, roll: number) => void;
  poses?: () => boolean;
  onChange?: () => void;
}

const RADIANS_PER_PX = 0.008;
const MAX_PITCH = 1.45;
const ZOOM = [0.3, 8] as const;

/** Let the viewer's canvas be dragged; returns the function that ends it. */
export function orbit(viewer: Viewer, options: OrbitOptions = {}): () => void {
  const { canvas, camera } = viewer;
  const pointers = new Map<number, { x: number; y: number }>();
  const changed = () => {
    viewer.invalidate();
    options.onChange?.();
  };
  const turn = (dx: number, dy: number) => {
    camera.yaw = wrap(camera.yaw - dx);
    camera.pitch = Math.min(MAX_PITCH, Math.max(-MAX_PITCH, camera.pitch + dy));
    changed();
  };
  const zoom = (factor: number) => {
    camera.zoom = Math.min(ZOOM[1], Math.max(ZOOM[0], camera.zoom * factor));
    changed();
  };
  const pan = (dx: number, dy: number) => {
    const metres = 0.37 / (camera.zoom * Math.min(canvas.clientWidth, canvas.clientHeight));
    const held = (value: number) => Math.min(0.5, Math.max(-0.5, value));
    camera.pan = [held(camera.pan[0] - dx * metres), held(camera.pan[1] + dy * metres)];
    changed();
  };

  const down = (event: PointerEvent) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    canvas.focus({ preventScroll: true });
  };
  const move = (event: PointerEvent) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const dx = event.clientX - before.x, dy = event.clientY - before.y;
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (others.length > 0) {
      const other = others[0]!;
      const distance = (at: { x: number; y: number }) => Math.hypot(at.x - other.x, at.y - other.y);
      zoom(distance({ x: event.clientX, y: event.clientY }) / Math.max(8, distance(before)));
      pan(dx / 2, dy / 2);
    } else if (options.onPose && (options.poses?.() || event.altKey)) {
      if (event.shiftKey) options.onPose(0, 0, -dx * RADIANS_PER_PX * 0.6);
      else options.onPose(dx * RADIANS_PER_PX * 0.6, dy * RADIANS_PER_PX * 0.6, 0);
    } else if (event.shiftKey || event.buttons & 4 || event.buttons & 2) pan(dx, dy);
    else turn(dx * RADIANS_PER_PX, dy * RADIANS_PER_PX);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  };
  const up = (event: PointerEvent) => void pointers.delete(event.pointerId);
  const wheel = (event: WheelEvent) => {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    zoom(Math.exp(-0.0015 * lines * event.deltaY));
  };
  const key = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 0.08;
    const keys: Record<string, () => void> = event.shiftKey
      ? {
          ArrowLeft: () => pan(12, 0),
          ArrowRight: () => pan(-12, 0),
          ArrowUp: () => pan(0, 12),
          ArrowDown: () => pan(0, -12),
        }
      : {
          ArrowLeft: () => turn(step, 0),
          ArrowRight: () => turn(-step, 0),
          ArrowUp: () => turn(0, step),
          ArrowDown: () => turn(0, -step),
        };
    Object.assign(keys, { '+': () => zoom(1.15), '=': () => zoom(1.15), '-': () => zoom(1 / 1.15) });
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };
  const menu = (event: Event) => event.preventDefault();

  canvas.style.touchAction = 'none';
  canvas.addEventListener('pointerdown', down);
  canvas.addEventListener('pointermove', move);
  canvas.addEventListener('pointerup', up);
  canvas.addEventListener('pointercancel', up);
  canvas.addEventListener('wheel', wheel, { passive: false });
  canvas.addEventListener('keydown', key);
  canvas.addEventListener('contextmenu', menu);
  return () => {
    canvas.removeEventListener('pointerdown', down);
    canvas.removeEventListener('pointermove', move);
    canvas.removeEventListener('pointerup', up);
    canvas.removeEventListener('pointercancel', up);
    canvas.removeEventListener('wheel', wheel);
    canvas.removeEventListener('keydown', key);
    canvas.removeEventListener('contextmenu', menu);
  };
}

const wrap = (angle: number) => angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
