// A voice moves the mouth: the microphone's or a sound file's, heard in this browser alone.
import type { Vec3 } from '../math.ts';
import { ARKIT_NAMES, EMOTIONS } from '../names.ts';
import { Behaviour, type Extras } from '../voice/behaviour.ts';
import { RATE_HZ } from '../voice/features.ts';
import { readVoice, type VoiceModel } from '../voice/network.ts';
import { Resampler } from '../voice/resample.ts';
import { FRAME_S, START_S, VoiceStream, type VoiceFrame } from '../voice/stream.ts';
import { PLAIN_STYLE, type Style } from '../voice/style.ts';
import { check, fileButton, h, slider } from './dom.ts';
import { complain, say } from './notes.ts';
import { closeDevice, fetchPart, openDevice } from './parts.ts';

export interface VoiceHost {
  /** An avatar is there; other drivers give way. */
  begin(): boolean;
  /** turn: of the head, a rotation vector; null leaves the head, and idle life, to others. */
  show(coefficients: Float32Array, turn: Vec3 | null): void;
  stopped(): void;
}

export interface VoiceControls {
  element: HTMLElement;
  /** Play a sound (or a film's) and speak it. */
  speak(file: File): void;
  /** Use another voice model: a .safetensors file of `avatar3d voice`. */
  adopt(file: File): void;
  stop(): void;
}

interface Spoken {
  frame: VoiceFrame;
  extras: Extras;
}

const ABSENT = 'Moving the face by voice is not installed here: the page was exported without it; use avatar3d export --to web --voice clean';
const PIECE = 2 * RATE_HZ; // samples of a file that are heard at a time
const LATE_S = 0.5; // a machine that cannot keep up leaves sound out, rather than lag more and more
// An audio worklet that hands on what it hears, and when.
const LISTENER = `registerProcessor('listener', class extends AudioWorkletProcessor {
  process([[heard]]) { if (heard) this.port.postMessage([currentTime, heard.slice()]); return true; } })`;

export function voiceControls(host: VoiceHost): VoiceControls {
  let model: Promise<VoiceModel> | null = null;
  let running: { end(): void } | null = null;
  let lively = true;
  const style: Style = { ...PLAIN_STYLE };
  const status = h('p', { class: 'soft', 'aria-live': 'polite' });
  const button = h('button', { type: 'button' }, 'Microphone');
  const audio = h('audio', { controls: true, hidden: true, 'aria-label': 'The sound that is spoken' });
  const emotion = h('select', {}, ...Object.keys(EMOTIONS).map((name) => h('option', { value: name }, name)));
  emotion.addEventListener('change', () => (style.emotion = emotion.value));

  const stop = () => {
    if (!running) return;
    running.end();
    running = null;
    audio.hidden = true;
    button.textContent = 'Microphone';
    status.textContent = '';
    host.stopped();
  };

  const voice = () => {
    status.textContent = 'Loading the voice model …';
    model ??= fetchPart('voice.safetensors', ABSENT).then(readVoice);
    model.catch(() => (model = null));
    return model;
  };

  /** What a performer adds to each frame of a voice, whether it is shown or not. */
  const performer = (seed: number) => {
    const behaviour = new Behaviour(seed);
    return (frame: VoiceFrame): Spoken => ({ frame, extras: behaviour.step(frame.energy) });
  };

  const show = (speech: VoiceStream, { frame, extras }: Spoken) => {
    const mouth = speech.performed(frame); // in the style as it is now
    if (lively) extras.coefficients.forEach((value, i) => (mouth[i] = Math.min(1, mouth[i]! + value)));
    host.show(mouth, lively ? extras.turn : null);
  };

  const begin = (end: () => void) => {
    stop();
    if (!host.begin()) throw new Error('Open an avatar first; then it can speak.');
    running = { end };
  };

  const listen = async () => {
    let ended = false;
    let stream: MediaStream | null = null;
    let context: AudioContext | null = null;
    begin(() => ((ended = true), closeDevice(stream), void context?.close()));
    button.textContent = 'Stop the microphone';
    const speech = new VoiceStream(await voice(), style);
    status.textContent = 'Waiting for the microphone …';
    if (ended) return;
    stream = await openDevice('microphone', { audio: true });
    if (ended) return closeDevice(stream);
    stream.getTracks().forEach((track) => track.addEventListener('ended', () => (stop(), complain(new Error('The microphone is gone.')))));
    context = new AudioContext({ sampleRate: RATE_HZ });
    let source: MediaStreamAudioSourceNode;
    try {
      source = context.createMediaStreamSource(stream);
    } catch {
      // Firefox long did not bring microphones to another rate.
      await context.close();
      if (ended) return;
      context = new AudioContext();
      source = context.createMediaStreamSource(stream);
    }
    const resampler = context.sampleRate === RATE_HZ ? null : new Resampler(context.sampleRate);
    const perform = performer(Math.floor(2 ** 32 * Math.random()));
    const url = URL.createObjectURL(new Blob([LISTENER], { type: 'text/javascript' }));
    await context.audioWorklet.addModule(url).finally(() => URL.revokeObjectURL(url));
    if (ended) return;
    const listener = new AudioWorkletNode(context, 'listener', { numberOfOutputs: 0, channelCount: 1, channelCountMode: 'explicit' });
    const clock = context;
    listener.port.onmessage = ({ data: [time, heard] }: MessageEvent<[number, Float32Array]>) => {
      if (ended || clock.currentTime - time > LATE_S) return;
      const last = speech.push(resampler ? resampler.push(heard) : heard).map(perform).at(-1);
      if (last) show(speech, last);
    };
    source.connect(listener);
    await context.resume();
    if (ended) return;
    status.textContent = 'The avatar speaks with you.';
  };

  const speak = async (file: File) => {
    let ended = false;
    begin(() => {
      ended = true;
      audio.pause();
      URL.revokeObjectURL(audio.src);
    });
    const speech = new VoiceStream(await voice(), style);
    status.textContent = 'Reading the sound …';
    const samples = await decode(file);
    if (ended) return;
    const frames: Spoken[] = [];
    const perform = performer(0); // as `avatar3d speak` does it
    audio.src = URL.createObjectURL(file);
    audio.hidden = false;
    // The mouth closes; the head stays where it has come to.
    audio.onended = () => host.show(new Float32Array(ARKIT_NAMES.length), lively ? (frames.at(-1)?.extras.turn ?? null) : null);
    const follow = () => {
      if (ended) return;
      requestAnimationFrame(follow);
      if (!audio.paused) show(speech, at(frames, audio.currentTime));
    };
    for (let start = 0; !ended && start < samples.length; start += PIECE) {
      frames.push(...speech.push(samples.subarray(start, start + PIECE)).map(perform));
      if (start === 0) {
        follow();
        audio.play().catch(() => say('The browser waits for you: press play.'));
      }
      status.textContent = `${file.name}: heard ${Math.round((100 * Math.min(samples.length, start + PIECE)) / samples.length)} %`;
      await new Promise((done) => setTimeout(done));
    }
    frames.push(...speech.finish().map(perform));
    if (!ended) status.textContent = file.name;
  };

  const run = (start: () => Promise<void>) => {
    start().catch((error: unknown) => {
      stop();
      status.textContent = '';
      complain(error);
    });
  };
  button.addEventListener('click', () => (button.textContent === 'Microphone' ? run(listen) : stop()));

  const adopt = async (file: File) => {
    const own = await readVoice(new Uint8Array(await file.arrayBuffer()));
    stop();
    model = Promise.resolve(own);
    say(`The voice model is ${file.name} now.`);
  };

  return {
    element: h(
      'div', {},
      h('div', { class: 'row' }, button, fileButton('Speak a sound file', 'audio/*,video/*', false, ([file]) => file && run(() => speak(file)))),
      audio, status,
      slider('Strength', { min: 0, max: 2, step: 0.05, value: 1 }, (value) => (style.strength = value)).element,
      h('div', { class: 'row' }, h('label', { class: 'check' }, 'Emotion', emotion), check('Eyes, brows and head too', true, (on) => (lively = on)).element),
    ),
    speak: (file) => run(() => speak(file)),
    adopt: (file) => void adopt(file).catch(complain),
    stop,
  };
}

/** What is heard `seconds` after the sound's begin. */
function at(frames: Spoken[], seconds: number): Spoken {
  return frames[Math.min(frames.length - 1, Math.max(0, Math.round((seconds - START_S) / FRAME_S)))]!;
}

/** A sound of any kind that the browser reads, as 16 kHz mono. */
async function decode(file: File): Promise<Float32Array> {
  let buffer: AudioBuffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, RATE_HZ).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} is no sound that this browser can read; try .wav, .mp3, .ogg or .m4a.`);
  }
  const mono = new Float32Array(buffer.length);
  for (let channel = 0; channel < buffer.numberOfChannels; channel++)
    buffer.getChannelData(channel).forEach((value, i) => (mono[i]! += value / buffer.numberOfChannels));
  return mono;
}
