import type { Code } from '../code.ts';
import { h } from './dom.ts';
import { say } from './notes.ts';
export interface WebcamHost { available: () => boolean; ready: () => boolean; show: (code: Code) => void; stopped: () => void }
export function webcamControls(host: WebcamHost): HTMLElement {
  return h('div', { class: 'row' }, h('button', { type: 'button', onclick: () => say(host.available() ? '' : 'The camera needs avatar3d view', 'bad') }, 'Webcam'));
}
