// The state that a link carries, in the address's fragment.
import { ARKIT_NAMES } from '../names.ts';

export interface State {
  yaw: number;
  pitch: number;
  zoom: number;
  pan: [number, number];
  expression: Record<string, number>;
  head: [number, number, number]; // yaw, pitch, roll
  background: string; // #rrggbb, transparent, or theme
  idle: boolean;
  count: number; // 0: all
  auto: boolean;
  overlays: string; // letters: g(aussians) w(ireframe) c(entres)
  theme: 'light' | 'dark' | '';
}

export function readState(fragment: string): Partial<State> {
  const given = new URLSearchParams(fragment.replace(/^#/, ''));
  const state: Partial<State> = {};
  const number = (key: string, low: number, high: number) => {
    const text = given.get(key);
    const value = Number(text);
    return text === null || !Number.isFinite(value) ? undefined : Math.min(high, Math.max(low, value));
  };
  const list = (key: string, count: number, limit: number) => {
    const values = (given.get(key) ?? '').split(',').map(Number);
    const good = given.has(key) && values.length === count && values.every(Number.isFinite);
    return good ? values.map((value) => Math.min(limit, Math.max(-limit, value))) : undefined;
  };
  const put = <K extends keyof State>(key: K, value: State[K] | undefined) => {
    if (value !== undefined) state[key] = value;
  };
  put('yaw', number('yaw', -Math.PI, Math.PI));
  put('pitch', number('pitch', -1.45, 1.45));
  put('zoom', number('zoom', 0.3, 8));
  put('pan', list('pan', 2, 0.5) as [number, number] | undefined);
  put('head', list('head', 3, 1.2) as [number, number, number] | undefined);
  put('count', number('count', 0, 1e6));
  if (given.has('idle')) put('idle', given.get('idle') === '1');
  if (given.has('auto')) put('auto', given.get('auto') === '1');
  const background = given.get('background');
  if (background && /^(#[0-9a-f]{6}|transparent|theme)$/i.test(background)) put('background', background);
  const overlays = given.get('overlays');
  if (overlays !== null && /^[gwc]{0,3}$/.test(overlays)) put('overlays', overlays);
  const theme = given.get('theme');
  if (theme === 'light' || theme === 'dark') put('theme', theme);
  if (given.has('face')) {
    const expression: Record<string, number> = {};
    for (const entry of given.get('face')!.split(',')) {
      const [name, value] = entry.split(':');
      if ((ARKIT_NAMES as readonly string[]).includes(name!) && Number.isFinite(Number(value)))
        expression[name!] = Math.min(1, Math.max(0, Number(value)));
    }
    put('expression', expression);
  }
  return state;
}

export function writeState(state: State): string {
  const out = new URLSearchParams();
  const short = (value: number) => String(Number(value.toFixed(3)));
  if (state.yaw) out.set('yaw', short(state.yaw));
  if (state.pitch) out.set('pitch', short(state.pitch));
  if (state.zoom !== 1) out.set('zoom', short(state.zoom));
  if (state.pan.some(Boolean)) out.set('pan', state.pan.map(short).join());
  if (state.head.some((angle) => Math.abs(angle) > 5e-4)) out.set('head', state.head.map(short).join());
  const face = Object.entries(state.expression).filter(([, value]) => value > 5e-4);
  if (face.length) out.set('face', face.map(([name, value]) => `${name}:${short(value)}`).join());
  if (state.background !== 'theme') out.set('background', state.background);
  if (state.idle) out.set('idle', '1');
  if (state.count) out.set('count', String(state.count));
  if (state.auto) out.set('auto', '1');
  if (state.overlays !== 'g') out.set('overlays', state.overlays);
  if (state.theme) out.set('theme', state.theme);
  return out.toString().replaceAll('%3A', ':').replaceAll('%2C', ',');
}
