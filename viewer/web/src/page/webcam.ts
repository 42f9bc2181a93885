// The user's face moves the avatar: the camera's picture stays in this browser, a detector finds the
// face's points in it, and the server's tracker makes codes of them.
import type { Landmarks, Tracked } from '../messages.ts';
import { h } from './dom.ts';
import { complain, say } from './notes.ts';

export interface WebcamHost {
  /** The server serves the detector's files. */
  available(): boolean;
  served(): boolean;
  ready(): boolean;
  send(landmarks: Landmarks): void;
  show(tracked: Tracked): void;
  stopped(): void;
}

interface FaceMeshResults {
  multiFaceLandmarks?: { x: number; y: number }[][];
}
interface FaceMesh {
  setOptions(options: Record<string, unknown>): void;
  onResults(listener: (results: FaceMeshResults) => void): void;
  initialize(): Promise<void>;
  send(input: { image: HTMLVideoElement }): Promise<void>;
  close(): Promise<void>;
}

const POINTS = 478;
const SAID: Record<string, string> = {
  searching: 'Looking for a face …',
  calibrating: 'Look at the camera, face at rest …',
  tracked: 'The avatar follows you.',
  side: 'Turned too far to the side.',
  lost: 'The face is lost.',
};

export interface Webcam {
  element: HTMLElement;
  hear(tracked: Tracked): void;
}

export function webcam(host: WebcamHost): Webcam {
  let running: { stop(): void } | null = null;
  let begin = false;
  let waiting = false; // for the server's answer
  const status = h('p', { class: 'soft', 'aria-live': 'polite' });
  const video = h('video', { muted: true, playsinline: true, hidden: true, 'aria-label': 'What the camera sees', class: 'camera' });
  const button = h('button', { type: 'button' }, 'Webcam');
  const again = h('button', { type: 'button', hidden: true, onclick: () => (begin = true) }, 'Learn my face again');

  const stop = (text = '') => {
    running?.stop();
    running = null;
    button.textContent = 'Webcam';
    video.hidden = again.hidden = true;
    status.textContent = text;
    host.stopped();
  };

  const start = async () => {
    if (!host.ready()) throw new Error('Open an avatar first; then it can follow your face.');
    if (!host.served()) throw new Error('The webcam needs the server: start the page with avatar3d view me.avatar');
    if (!host.available()) throw new Error(NO_DETECTOR);
    if (!navigator.mediaDevices?.getUserMedia) throw new Error('This page may not use a camera: open it from localhost or https.');
    button.textContent = 'Stop the webcam';
    let ended = false;
    let stream: MediaStream | null = null;
    let mesh: FaceMesh | null = null;
    const mine = { stop: () => ((ended = true), stream?.getTracks().forEach((track) => track.stop()), void mesh?.close().catch(() => undefined)) };
    running = mine;
    status.textContent = 'Waiting for the camera …';
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } }).catch((error: DOMException) => {
      throw new Error(DENIED[error.name] ?? `The camera cannot be used (${error.message || error.name}).`);
    });
    if (ended) return stream.getTracks().forEach((track) => track.stop());
    video.srcObject = stream;
    video.hidden = again.hidden = false;
    await video.play();
    status.textContent = 'Loading the detector …';
    mesh = await openFaceMesh();
    mesh.onResults(({ multiFaceLandmarks }) => {
      if (ended || waiting) return;
      const [face] = multiFaceLandmarks ?? [];
      const { videoWidth: width, videoHeight: height } = video;
      const points = face?.length === POINTS ? face.flatMap(({ x, y }) => [round(x * width), round(y * height)]) : [];
      waiting = true;
      host.send({ type: 'Landmarks', points, width, height, time_s: performance.now() / 1000, begin });
      begin = false;
    });
    begin = true;
    waiting = false;
    let quiet = 0;
    while (!ended) {
      await mesh.send({ image: video });
      await new Promise((done) => requestAnimationFrame(done));
      quiet = waiting ? quiet + 1 : 0;
      if (quiet > 300) waiting = false; // the server went away and came back
    }
  };

  button.addEventListener('click', () => {
    if (running) return stop();
    start().catch((error: unknown) => {
      stop();
      complain(error);
    });
  });
  return {
    element: h('div', {}, h('div', { class: 'row' }, button, again), video, status),
    hear(tracked) {
      waiting = false;
      if (!running) return;
      if (tracked.problem) {
        stop();
        say(tracked.problem, 'bad');
        return;
      }
      status.textContent = SAID[tracked.status] ?? tracked.status;
      host.show(tracked);
    },
  };
}

const round = (value: number) => Math.round(100 * value) / 100;

const NO_DETECTOR =
  'The face detector is not on this machine; get it with: npm pack @mediapipe/face_mesh@0.4.1633559619, and unpack it so that ' +
  '~/.local/share/avatar3d/face_mesh/face_mesh.js is there (docs/viewer.md).';
const DENIED: Record<string, string> = {
  NotAllowedError: 'The browser denies the camera: allow it for this page (beside the address), then try again.',
  NotFoundError: 'No camera was found; connect one, then try again.',
  NotReadableError: 'The camera is in use by another program; close that, then try again.',
};

/** MediaPipe's detector from the server's own files; the library is a script of its own making. */
async function openFaceMesh(): Promise<FaceMesh> {
  const globals = window as unknown as { FaceMesh?: new (config: object) => FaceMesh };
  if (!globals.FaceMesh)
    await new Promise((done, failed) => {
      const script = h('script', { src: 'face_mesh/face_mesh.js' });
      script.onload = done;
      script.onerror = () => failed(new Error('The face detector could not be loaded from the server.'));
      document.head.append(script);
    });
  const mesh = new globals.FaceMesh!({ locateFile: (file: string) => `face_mesh/${file}` });
  mesh.setOptions({ maxNumFaces: 1, refineLandmarks: true, minDetectionConfidence: 0.5, minTrackingConfidence: 0.5, selfieMode: false });
  await mesh.initialize();
  return mesh;
}
