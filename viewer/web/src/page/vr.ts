// The button that enters a headset.
import type { Viewer } from '../viewer.ts';
import { enterVr, vrSupported } from '../xr.ts';
import { h } from './dom.ts';
import { complain, say } from './notes.ts';

export function vrButton(viewer: Viewer): HTMLElement {
  let session: XRSession | null = null;
  const button = h('button', { type: 'button', id: 'vr', title: 'With a headset that this browser reaches by WebXR' }, 'Enter VR');
  button.addEventListener('click', () => {
    const run = async () => {
      if (session) return void (await session.end());
      if (!(await vrSupported())) {
        say('No headset is within reach: WebXR needs a headset, its browser or runtime, and a page from https or localhost.', 'bad');
        return;
      }
      session = await enterVr(viewer);
      button.textContent = 'Leave VR';
      session.addEventListener('end', () => {
        session = null;
        button.textContent = 'Enter VR';
      });
    };
    run().catch(complain);
  });
  return button;
}
