// What the page has to say, in words: notes that go by themselves, complaints that stay.
import { byId, h } from './dom.ts';

const SECONDS = 6;

export function say(text: string, kind: 'good' | 'bad' = 'good'): void {
  const notes = byId('notes');
  for (const old of [...notes.children]) if (old.firstChild?.textContent === text) old.remove();
  const note = h('div', { class: `note ${kind}` }, h('span', {}, text));
  note.append(h('button', { type: 'button', 'aria-label': 'Close', onclick: () => note.remove() }, '✕'));
  notes.append(note);
  while (notes.children.length > 4) notes.firstChild!.remove();
  if (kind === 'good') setTimeout(() => note.remove(), 1000 * SECONDS);
}

/** Complain about anything that was thrown. */
export function complain(error: unknown): void {
  if (error instanceof DOMException && error.name === 'AbortError') return;
  say(error instanceof Error ? error.message : String(error), 'bad');
}

/** The bar in the middle; null takes it away. */
export function showProgress(progress: { share: number; text: string; cancel?: () => void } | null): void {
  const bar = byId('progress');
  bar.hidden = progress === null;
  bar.querySelector('button')?.remove();
  if (!progress) return;
  const percent = Math.round(100 * Math.min(1, Math.max(0, progress.share)));
  bar.setAttribute('aria-valuenow', String(percent));
  bar.setAttribute('aria-valuetext', progress.text);
  bar.querySelector('span')!.style.width = `${percent}%`;
  bar.querySelector('b')!.textContent = progress.text;
  if (progress.cancel) bar.append(h('button', { type: 'button', onclick: progress.cancel }, 'Cancel'));
}
