// What the page fetches only when it is asked for, and devices, with a sentence where they are absent.
import { h } from './dom.ts';

/** What the server says with the page; null on a static host. */
export const hello = () => document.getElementById('hello')?.textContent ?? null;

/** Begin to fetch what will be asked for. */
export function preload(url: string): void {
  document.head.append(h('link', { rel: 'preload', as: 'fetch', href: url, crossorigin: 'anonymous' }));
}

/** A file beside the page; `absent` is said where it is not there. */
export async function fetchPart(file: string, absent: string): Promise<Uint8Array> {
  const response = await fetch(file).catch(() => null);
  if (!response) throw new Error(`${file} could not be fetched: no connection.`);
  if (response.ok) return new Uint8Array(await response.arrayBuffer());
  throw new Error((hello() && (await response.text())) || absent);
}

/** A script of others' making, run in the page. */
export async function runScript(file: string, absent: string): Promise<void> {
  await new Promise((done, failed) => {
    const script = h('script', { src: file });
    script.onload = done;
    script.onerror = () => failed(new Error(absent));
    document.head.append(script);
  });
}

/** The user's camera or microphone. */
export async function openDevice(kind: 'camera' | 'microphone', constraints: MediaStreamConstraints): Promise<MediaStream> {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error(`This page may not use a ${kind}: open it from localhost or https.`);
  try {
    return await navigator.mediaDevices.getUserMedia(constraints);
  } catch (error) {
    const { name, message } = error as DOMException;
    const said: Record<string, string> = {
      NotAllowedError: `The browser denies the ${kind}: allow it for this page (beside the address), then try again.`,
      NotFoundError: `No ${kind} was found; connect one, then try again.`,
      NotReadableError: `The ${kind} is in use by another program; close that, then try again.`,
    };
    throw new Error(said[name] ?? `The ${kind} cannot be used (${message || name}).`);
  }
}

export function closeDevice(stream: MediaStream | null): void {
  stream?.getTracks().forEach((track) => track.stop());
}
