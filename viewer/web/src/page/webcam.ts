// The user's face moves the avatar, all in this browser: MediaPipe's detector finds the face's points
// in the camera's picture, the tracker makes codes of them. Nothing is sent anywhere.
import type { Code } from '../code.ts';
import type { Vec3 } from '../math.ts';
import { POINTS, readModel, type Model } from '../tracker/model.ts';
import { FaceTracker, type TrackerStatus } from '../tracker/tracker.ts';
import { h } from './dom.ts';
import { complain } from './notes.ts';
import { closeDevice, fetchPart, hello, openDevice, runScript } from './parts.ts';

export interface WebcamHost {
  /** An avatar is there; other drivers give way. */
  begin(): boolean;
  show(code: Code): void;
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

const SAID: Record<TrackerStatus, string> = {
  searching: 'Looking for a face …',
  calibrating: 'Look at the camera, face at rest …',
  tracked: 'The avatar follows you.',
  side: 'Turned too far to the side.',
  lost: 'The face is lost.',
};
const ABSENT = 'Following a webcam is not installed here: the page was exported without it; use avatar3d export --to web --webcam';
const NO_DETECTOR =
  'The face detector is not installed on this machine; get it with: npm pack @mediapipe/face_mesh@0.4.1633559619, and unpack it ' +
  'so that ~/.local/share/avatar3d/face_mesh/face_mesh.js is there (docs/viewer.md).';

export interface Webcam {
  element: HTMLElement;
  stop(): void;
}

export function webcam(host: WebcamHost): Webcam {
  let running: { end(): void } | null = null;
  let model: Promise<Model> | null = null;
  let tracker: FaceTracker | null = null;
  let origin: Vec3 | null = null;
  const status = h('p', { class: 'soft', 'aria-live': 'polite' });
  const video = h('video', { muted: true, playsinline: true, hidden: true, 'aria-label': 'What the camera sees', class: 'camera' });
  const button = h('button', { type: 'button' }, 'Webcam');
  const relearn = () => {
    tracker?.recalibrate();
    origin = null;
  };
  const again = h('button', { type: 'button', hidden: true, onclick: relearn }, 'Learn my face again');

  const stop = () => {
    if (!running) return;
    running.end();
    running = null;
    button.textContent = 'Webcam';
    video.hidden = again.hidden = true;
    status.textContent = '';
    host.stopped();
  };

  const start = async () => {
    if (!host.begin()) throw new Error('Open an avatar first; then it can follow your face.');
    button.textContent = 'Stop the webcam';
    let ended = false;
    let stream: MediaStream | null = null;
    let mesh: FaceMesh | null = null;
    running = { end: () => ((ended = true), closeDevice(stream), void mesh?.close().catch(() => undefined)) };
    status.textContent = 'Loading the tracker …';
    model ??= fetchPart('tracker.json.gz', ABSENT).then(readModel);
    model.catch(() => (model = null)); // another try may find it
    tracker = new FaceTracker(await model);
    origin = null;
    const makeMesh = await faceMesh();
    if (ended) return;
    status.textContent = 'Waiting for the camera …';
    stream = await openDevice('camera', { video: { width: 640, height: 480 } });
    if (ended) return closeDevice(stream);
    stream.getTracks().forEach((track) => track.addEventListener('ended', () => (stop(), complain(new Error('The camera is gone.')))));
    video.srcObject = stream;
    video.hidden = again.hidden = false;
    await video.play();
    status.textContent = 'Loading the detector …';
    mesh = await makeMesh();
    mesh.onResults(({ multiFaceLandmarks }) => {
      if (ended || !tracker) return;
      const [face] = multiFaceLandmarks ?? [];
      const { videoWidth: width, videoHeight: height } = video;
      const points = face?.length === POINTS ? face.flatMap(({ x, y }) => [x * width, y * height]) : null;
      const frame = tracker.update(points, [width, height], performance.now() / 1000);
      status.textContent = SAID[frame.status];
      const { translation: t } = frame.code;
      // However the user sits before the camera, the avatar begins where it stands.
      if (frame.status === 'tracked') origin ??= t;
      host.show({ ...frame.code, translation: origin ? [t[0] - origin[0], t[1] - origin[1], t[2] - origin[2]] : [0, 0, 0] });
    });
    while (!ended) {
      await mesh.send({ image: video });
      await new Promise((done) => requestAnimationFrame(done));
    }
  };

  button.addEventListener('click', () => {
    if (running) return stop();
    start().catch((error: unknown) => {
      stop();
      complain(error);
    });
  });
  return { element: h('div', {}, h('div', { class: 'row' }, button, again), video, status), stop };
}

/** What makes MediaPipe's detector of the files beside the page; the library is a script of its own making. */
async function faceMesh(): Promise<() => Promise<FaceMesh>> {
  const globals = window as unknown as { FaceMesh?: new (config: object) => FaceMesh };
  if (!globals.FaceMesh) await runScript('face_mesh/face_mesh.js', hello() ? NO_DETECTOR : ABSENT);
  return async () => {
    const mesh = new globals.FaceMesh!({ locateFile: (file: string) => `face_mesh/${file}` });
    mesh.setOptions({ maxNumFaces: 1, refineLandmarks: true, minDetectionConfidence: 0.5, minTrackingConfidence: 0.5, selfieMode: false });
    await mesh.initialize();
    return mesh;
  };
}
