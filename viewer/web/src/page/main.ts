// The page: a stage, tabs of controls, and what ties them to the avatar.
import type { Avatar } from '../avatar.ts';
import type { Pose } from '../code.ts';
import { AssetError } from '../container.ts';
import { quatFromAngles, quatFromVector, quatMultiply, quatToAngles, type Quat, type Vec3 } from '../math.ts';
import type { Hello, ToPage } from '../messages.ts';
import { readMotion, type Motion } from '../motion.ts';
import { ARKIT_NAMES } from '../names.ts';
import { orbit } from '../orbit.ts';
import { Viewer } from '../viewer.ts';
import { Connection, parse } from './connection.ts';
import { byId, check, fileButton, h, slider, toggle } from './dom.ts';
import { expressionTab } from './expression.ts';
import { complain, say, showProgress } from './notes.ts';
import { hello, preload } from './parts.ts';
import { Recording, save, screenshot, type Backdrop } from './recording.ts';
import { readState, writeState, type State } from './state.ts';
import { makePhotos } from './photos.ts';
import { voiceControls } from './voice.ts';
import { vrButton } from './vr.ts';
import { webcam } from './webcam.ts';

const DEFAULT_AVATAR = 'avatar.a3dweb';
const MAX_FILE_BYTES = 64 * 2 ** 20;
const ANGLES = [['Turn', 'yaw'], ['Nod', 'pitch'], ['Tilt', 'roll']] as const;

const state: State = {
  yaw: 0, pitch: 0, zoom: 1, pan: [0, 0], expression: {}, head: [0, 0, 0], background: 'theme',
  idle: false, count: 0, auto: false, overlays: 'g', theme: '',
  ...readState(location.hash),
};

function start(): void {
  const asked = new URLSearchParams(location.search).get('avatar');
  const said = parse(hello() ?? '') as Hello | null;
  const first = hello() === null ? (asked ?? DEFAULT_AVATAR) : said?.avatar;
  if (first) preload(first); // while the graphics start
  let viewer: Viewer;
  try {
    viewer = new Viewer(byId<HTMLCanvasElement>('canvas'));
  } catch (error) {
    showEmpty('This page cannot draw here', (error as Error).message);
    return;
  }
  new Page(viewer, said);
}

class Page {
  private avatar: Avatar | null = null;
  private name = 'avatar';
  private hello: Hello | null = null;
  private hellos = 0;
  private posing = false;
  private liveUntil = 0;
  private readonly connection: Connection | null = null;
  private readonly backdrop: Backdrop = { picture: null };
  private readonly title = h('h1', {}, 'avatar3d');
  private readonly expression = expressionTab(
    (values) => this.express(values),
    () => this.turnHead([0, 0, 0]),
  );
  private readonly headSliders = ANGLES.map(([label], axis) =>
    slider(label, { min: -1, max: 1, value: state.head[axis]!, format: (v) => `${Math.round((v * 180) / Math.PI)}°` }, (value) => {
      const head = [...state.head] as State['head'];
      head[axis] = value;
      this.turnHead(head);
    }),
  );
  private readonly countSlider = slider('Gaussians', { min: 5000, max: 40000, step: 1000, value: 40000, format: (v) => v.toLocaleString('en') }, (value) => {
    this.avatar && (this.avatar.count = value);
    state.count = this.avatar && value >= this.avatar.asset.count ? 0 : value;
    this.viewer.invalidate();
    this.keep();
  });
  private readonly idleBox = check('Idle life: blinks and sways', state.idle, (on) => this.setIdle(on));
  private readonly poseToggle = toggle('Drag turns the head', false, (on) => (this.posing = on));
  private readonly player = h('div', { hidden: true });
  private readonly about = h('dl');
  private readonly photoRow = h('div');
  private readonly fileRow = h('div');
  private readonly webcam = webcam({
    begin: () => this.giveWay('voice'),
    show: (code) => this.showLive(code.coefficients, code),
    stopped: () => this.restore(),
  });
  private readonly voice = voiceControls({
    begin: () => this.giveWay('webcam'),
    show: (coefficients, turn) => {
      if (this.avatar) this.avatar.idle = turn === null && state.idle;
      const own = quatFromAngles(...state.head);
      const head = turn === null ? own : quatMultiply(own, quatFromVector(...turn));
      this.showLive(coefficients, { head, neck: head, translation: [0, 0, 0] });
    },
    stopped: () => this.restore(),
  });
  private loading: AbortController | null = null;
  private keepTimer = 0;

  constructor(private readonly viewer: Viewer, said: Hello | null) {
    Object.assign(viewer.camera, { yaw: state.yaw, pitch: state.pitch, zoom: state.zoom, pan: state.pan });
    viewer.autoDetail = state.auto;
    this.applyTheme();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.applyTheme());
    this.buildPanel();
    this.applyOverlays();
    orbit(viewer, {
      poses: () => this.posing,
      onPose: (yaw, pitch, roll) => {
        const held = (value: number) => Math.min(1, Math.max(-1, value));
        this.turnHead([held(state.head[0] + yaw), held(state.head[1] + pitch), held(state.head[2] + roll)]);
      },
      onChange: () => {
        Object.assign(state, viewer.camera);
        this.keep();
      },
    });
    this.listen();
    Object.assign(window, { avatar3d: { viewer, load: (url: string) => this.open(url, url) } });
    if (said) {
      this.hear(said);
      this.connection = new Connection({
        message: (message) => this.hear(message),
        line: (up) =>
          up ? say('The server is back.') : say('The connection to the server is lost; what is loaded keeps working. Trying again …', 'bad'),
      });
    } else {
      const url = new URLSearchParams(location.search).get('avatar');
      const motion = new URLSearchParams(location.search).get('motion');
      void this.open(url ?? DEFAULT_AVATAR, url ?? 'avatar', url === null).then(() => {
        if (motion) void this.fetchMotion(motion);
      });
    }
  }

  // What the page shows.

  /** Load an avatar; `quiet`: a missing file is no error but the page's empty state. */
  private async open(source: string | File, name: string, quiet = false): Promise<void> {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    byId('empty').hidden = true;
    showProgress({ share: 0, text: 'Loading the avatar …' });
    try {
      if (source instanceof File && source.size > MAX_FILE_BYTES)
        throw new AssetError(`${source.name} has ${(source.size / 2 ** 20).toFixed(0)} MB, more than an avatar can have.`);
      const avatar = await this.viewer.load(source, {
        replace: true,
        signal: loading.signal,
        onProgress: (loaded, total) =>
          showProgress({ share: total ? loaded / total : 0.5, text: `Loading the avatar … ${(loaded / 1e6).toFixed(1)} MB` }),
      });
      this.show(avatar, name);
    } catch (error) {
      if (loading.signal.aborted) return;
      if (quiet) this.showStart();
      else {
        complain(error);
        if (!this.avatar) this.showStart();
      }
    } finally {
      if (this.loading === loading) showProgress(null);
    }
  }

  private show(avatar: Avatar, name: string): void {
    this.avatar = avatar;
    this.name = name.replace(/^.*\//, '').replace(/\.[a-z0-9]+$/i, '') || 'avatar';
    this.title.textContent = this.name;
    document.title = `${this.name} – avatar3d`;
    byId('empty').hidden = true;
    const { asset } = avatar;
    const input = this.countSlider.element.querySelector('input')!;
    Object.assign(input, { min: String(Math.min(1000, asset.count)), max: String(asset.count) });
    avatar.count = state.count || asset.count;
    this.countSlider.set(avatar.count);
    avatar.setExpression(state.expression);
    this.expression.show(avatar.code.coefficients);
    this.turnHead(state.head);
    avatar.idle = state.idle;
    avatar.on('code', (code) => {
      if (!avatar.motion && performance.now() > this.liveUntil) return;
      this.expression.show(code.coefficients);
      quatToAngles(code.head).forEach((angle, axis) => this.headSliders[axis]!.set(angle));
    });
    avatar.on('time', (seconds) => this.showTime(seconds));
    avatar.on('ended', () => {
      this.player.hidden = true;
      this.expression.show(avatar.code.coefficients);
      state.head.forEach((angle, axis) => this.headSliders[axis]!.set(angle));
    });
    this.about.replaceChildren();
    const facts = { Gaussians: asset.count.toLocaleString('en'), ...asset.about };
    for (const [key, value] of Object.entries(facts)) this.about.append(h('dt', {}, key), h('dd', {}, value));
  }

  private showStart(): void {
    const photos = this.hello?.can_create;
    showEmpty(
      photos ? 'Drop a photo of a face here' : 'Drop an avatar here',
      photos
        ? 'One or a few photos of one person; the avatar is made on this computer. Or open an avatar that was made before (.a3dweb).'
        : 'A file named *.a3dweb, written by: avatar3d export me.avatar --to web -o folder',
      h(
        'div', { class: 'row' },
        photos ? fileButton('Choose photos', 'image/*', true, (files) => this.make(files)) : null,
        fileButton('Open an avatar', '.a3dweb', false, (files) => this.take(files)),
      ),
    );
  }

  private express(values: Record<string, number>): void {
    for (const [name, value] of Object.entries(values))
      if (value > 0) state.expression[name] = value;
      else delete state.expression[name];
    this.avatar?.stop();
    this.avatar?.setExpression(values);
    this.keep();
  }

  private turnHead(head: State['head']): void {
    state.head = head;
    this.avatar?.setPose({ head: quatFromAngles(...head) });
    head.forEach((angle, axis) => this.headSliders[axis]!.set(angle));
    this.keep();
  }

  private setIdle(on: boolean): void {
    state.idle = on;
    this.idleBox.set(on);
    if (this.avatar) this.avatar.idle = on;
    this.avatar?.setPose({});
    this.keep();
  }

  private reset(): void {
    this.avatar?.stop();
    state.expression = {};
    this.avatar?.reset();
    this.expression.show(new Float32Array(ARKIT_NAMES.length));
    this.turnHead([0, 0, 0]);
    this.viewer.resetCamera();
    Object.assign(state, this.viewer.camera);
    this.keep();
  }

  // Files, motions, the server.

  private take(files: File[]): void {
    const photos = files.filter((file) => file.type.startsWith('image/'));
    if (photos.length) {
      this.make(photos);
      return;
    }
    const [file] = files;
    if (!file) return;
    if (/\.a3dweb$/i.test(file.name)) void this.open(file, file.name);
    else if (/\.(json|csv)$/i.test(file.name)) void this.playFile(file);
    else if (/^(audio|video)\//.test(file.type) || /\.(wav|mp3|ogg|flac|m4a)$/i.test(file.name)) this.voice.speak(file);
    else if (/\.safetensors$/i.test(file.name)) this.voice.adopt(file);
    else if (/\.avatar$/i.test(file.name))
      say('The browser shows *.a3dweb; write one with: avatar3d export me.avatar --to web -o folder', 'bad');
    else if (/\.npz$/i.test(file.name))
      say('The browser plays motions as JSON or CSV; open an .npz with: avatar3d view me.avatar --motion clip.npz', 'bad');
    else say(`${file.name} is nothing this page can open; it takes avatars (.a3dweb), motions (.json, .csv), sounds and, with avatar3d view, photos.`, 'bad');
  }

  private make(photos: File[]): void {
    if (!this.hello?.can_create) say('Photos become avatars with the command: avatar3d view', 'bad');
    else void makePhotos(photos, this.hello.max_upload_bytes, (job) => this.connection?.send({ type: 'CancelJob', job })).catch(complain);
  }

  private async playFile(file: File): Promise<void> {
    try {
      if (file.size > MAX_FILE_BYTES) throw new AssetError(`${file.name} is too large for a motion.`);
      this.play(readMotion(await file.text(), file.name));
    } catch (error) {
      complain(error);
    }
  }

  private async fetchMotion(url: string): Promise<void> {
    try {
      const response = await fetch(url);
      if (!response.ok) throw new AssetError(`The motion could not be fetched: the host says ${response.status}.`);
      this.play(readMotion(await response.text(), url));
    } catch (error) {
      complain(error);
    }
  }

  private play(motion: Motion): void {
    if (!this.avatar) {
      say('Open an avatar first; then it can play the motion.', 'bad');
      return;
    }
    const { avatar } = this;
    this.webcam.stop();
    this.voice.stop();
    const length = motion.codes.length / motion.framesPerSecond;
    avatar.play(motion, { loop: true });
    const pause = toggle('Pause', false, (on) => (avatar.paused = on));
    const place = slider('Time', { min: 0, max: Math.max(length, 0.01), step: 0.01, value: 0, format: (v) => `${v.toFixed(1)} s` }, (value) => avatar.seek(value));
    this.player.replaceChildren(
      h('p', { class: 'soft' }, `${motion.name}: ${motion.codes.length} frames, ${length.toFixed(1)} s at ${motion.framesPerSecond.toFixed(1)}/s`),
      place.element,
      slider('Speed', { min: 0.1, max: 2, step: 0.05, value: 1, format: (v) => `${v.toFixed(2)}×` }, (speed) => avatar.adjust({ speed })).element,
      h(
        'div', { class: 'row' }, pause.element,
        toggle('Loop', true, (loop) => avatar.adjust({ loop })).element,
        h('button', { type: 'button', onclick: () => avatar.stop() }, 'Stop'),
      ),
    );
    this.player.hidden = false;
    this.showTime = (seconds) => place.set(seconds);
  }

  /** An avatar that was made here is lost with the server unless it is kept. */
  private offerFile(url: string | null): void {
    this.fileRow.replaceChildren();
    if (!url) return;
    this.fileRow.append(
      h('h2', {}, 'Keep this avatar'),
      h('a', { href: url, download: `${this.name}.avatar`, class: 'file' }, 'Download .avatar'),
    );
    say('The avatar is made. Keep it: tab Save, Download .avatar.');
  }

  private showTime: (seconds: number) => void = () => undefined;

  private hear(message: ToPage): void {
    switch (message.type) {
      case 'Hello': {
        const { avatar, name, file, motion, warning } = message;
        const before = this.hello;
        this.hello = message;
        this.photoRow.hidden = !message.can_create;
        // First it comes with the page, then over the line: an avatar may have been made between.
        if (this.hellos++ > 1 || (before && before.avatar === avatar)) break;
        if (warning) say(warning, 'bad');
        if (!avatar) this.showStart();
        else
          void this.open(avatar, name ?? 'avatar').then(() => {
            this.offerFile(file);
            if (motion) void this.fetchMotion(motion);
          });
        break;
      }
      case 'AvatarReady':
        void this.open(message.url, message.name).then(() => this.offerFile(message.file));
        break;
      case 'LiveCode': {
        if (message.head_rotation.length !== 4 || message.neck_rotation.length !== 4 || message.head_translation.length !== 3) break;
        this.showLive(message.coefficients, {
          head: message.head_rotation as unknown as Quat,
          neck: message.neck_rotation as unknown as Quat,
          translation: message.head_translation as unknown as Vec3,
        });
        break;
      }
      case 'JobProgress':
        showProgress({
          share: message.total > 0 ? message.done / message.total : 0,
          text: `Making the avatar: ${message.stage} …`,
          cancel: () => this.connection?.send({ type: 'CancelJob', job: message.job }),
        });
        break;
      case 'JobFailed':
        showProgress(null);
        say(message.sentence, 'bad');
        if (!this.avatar) this.showStart();
        break;
    }
  }

  private showLive(coefficients: ArrayLike<number>, pose?: Pose): void {
    this.liveUntil = performance.now() + 500;
    this.avatar?.setExpression(coefficients);
    if (pose) this.avatar?.setPose(pose);
  }

  /** Room for one driver of the face; false where there is no face. */
  private giveWay(other: 'webcam' | 'voice'): boolean {
    this[other].stop();
    this.avatar?.stop();
    return this.avatar !== null;
  }

  /** A driver has ended: what the sliders say. */
  private restore(): void {
    if (this.avatar) this.avatar.idle = state.idle;
    this.avatar?.reset();
    this.avatar?.setExpression(state.expression);
    this.turnHead(state.head);
  }

  // Controls.

  private buildPanel(): void {
    const tabs: [string, HTMLElement][] = [
      ['Face', this.expression.element],
      ['Move', this.moveTab()],
      ['Look', this.lookTab()],
      ['Save', this.saveTab()],
    ];
    const buttons = tabs.map(([label], index) =>
      h('button', { type: 'button', role: 'tab', id: `tab${index}`, 'aria-controls': `sheet${index}`, onclick: () => select(index) }, label),
    );
    const sheets = tabs.map(([, element], index) =>
      h('div', { class: 'sheet', role: 'tabpanel', id: `sheet${index}`, 'aria-labelledby': `tab${index}`, tabindex: '-1' }, element),
    );
    const select = (chosen: number) => {
      document.body.classList.remove('folded');
      buttons.forEach((button, index) => {
        button.setAttribute('aria-selected', String(index === chosen));
        button.tabIndex = index === chosen ? 0 : -1;
        sheets[index]!.hidden = index !== chosen;
      });
    };
    const list = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Controls' }, ...buttons);
    list.addEventListener('keydown', (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (buttons.indexOf(document.activeElement as HTMLButtonElement) + step + buttons.length) % buttons.length;
      select(next);
      buttons[next]!.focus();
    });
    select(0);
    byId('panel').append(
      h(
        'header', {}, this.title,
        h('button', { type: 'button', title: 'Camera, head and face as at first (0)', onclick: () => this.reset() }, 'Reset all'),
        h('button', { type: 'button', id: 'fold', 'aria-label': 'Fold or unfold the controls', onclick: () => document.body.classList.toggle('folded') }, '↕'),
      ),
      list, ...sheets,
    );
  }

  private moveTab(): HTMLElement {
    return h(
      'div', {},
      h('h2', {}, 'Head'),
      ...this.headSliders.map((made) => made.element),
      h('div', { class: 'row' }, this.poseToggle.element, h('button', { type: 'button', onclick: () => this.turnHead([0, 0, 0]) }, 'Straight')),
      h('p', { class: 'soft' }, 'Or drag with Alt held; with Shift too it tilts.'),
      h('h2', {}, 'Life'),
      this.idleBox.element,
      h('h2', {}, 'Motion'),
      h('div', { class: 'row' }, fileButton('Open a motion', '.json,.csv', false, (files) => this.take(files))),
      h('p', { class: 'soft' }, 'JSON of avatar3d, or a Live Link Face CSV.'),
      this.player,
      h('h2', {}, 'Your face'),
      this.webcam.element,
      h('h2', {}, 'Voice'),
      this.voice.element,
    );
  }

  private lookTab(): HTMLElement {
    const color = h('input', { type: 'color', 'aria-label': 'Background colour', value: /^#/.test(state.background) ? state.background : '#808080' });
    color.addEventListener('input', () => this.setBackground(color.value));
    const overlay = (label: string, letter: string) =>
      check(label, state.overlays.includes(letter), (on) => {
        state.overlays = [...'gwc'].filter((l) => (l === letter ? on : state.overlays.includes(l))).join('');
        this.applyOverlays();
        this.keep();
      }).element;
    const theme = h('select', { 'aria-label': 'Theme' }, ...['', 'light', 'dark'].map((value) => h('option', { value }, value || 'as the system')));
    theme.value = state.theme;
    theme.addEventListener('change', () => {
      state.theme = theme.value as State['theme'];
      this.applyTheme();
      this.keep();
    });
    return h(
      'div', {},
      h('h2', {}, 'Background'),
      h(
        'div', { class: 'row' }, color,
        h('button', { type: 'button', onclick: () => this.setBackground('theme') }, 'Plain'),
        h('button', { type: 'button', onclick: () => this.setBackground('transparent') }, 'Transparent'),
        fileButton('Picture', 'image/*', false, ([file]) => file && this.setPicture(file)),
      ),
      h('h2', {}, 'Detail'),
      this.countSlider.element,
      check('Automatic, by frame time', state.auto, (on) => {
        this.viewer.autoDetail = state.auto = on;
        if (!on && this.avatar) this.avatar.count = state.count || this.avatar.asset.count;
        this.viewer.invalidate();
        this.keep();
      }).element,
      h('h2', {}, 'Show'),
      overlay('Gaussians', 'g'), overlay('Wireframe', 'w'), overlay('Centres of the Gaussians', 'c'),
      check('Frame time and counts', false, (on) => this.showStats(on)).element,
      h('h2', {}, 'Theme'), theme,
      h('h2', {}, 'This avatar'), this.about,
    );
  }

  private saveTab(): HTMLElement {
    let recording: Recording | null = null;
    const record = toggle('Record', false, (on) => {
      const run = async () => {
        if (on) recording = new Recording(this.viewer, this.backdrop);
        else if (recording) {
          const made = recording;
          recording = null;
          save(await made.stop(), `${this.name}.${made.extension}`);
        }
        record.element.textContent = recording ? 'Stop recording' : 'Record';
      };
      run().catch((error: unknown) => (record.set(false), complain(error)));
    });
    this.photoRow.hidden = true;
    this.photoRow.append(
      h('h2', {}, 'Make an avatar'),
      fileButton('Choose photos', 'image/*', true, (files) => this.make(files)),
    );
    return h(
      'div', {},
      h('h2', {}, 'Picture and film'),
      h(
        'div', { class: 'row' },
        h('button', { type: 'button', onclick: () => screenshot(this.viewer, this.backdrop).then((blob) => save(blob, `${this.name}.png`)).catch(complain) }, 'Screenshot'),
        record.element,
      ),
      h('h2', {}, 'Link'),
      h('div', { class: 'row' }, h('button', { type: 'button', onclick: () => this.copyLink() }, 'Copy link'), vrButton(this.viewer)),
      h('p', { class: 'soft' }, 'The link carries face, head, camera and looks.'),
      this.fileRow, this.photoRow,
      h('h2', {}, 'Open'),
      fileButton('Open an avatar', '.a3dweb', false, (files) => this.take(files)),
      h('h2', {}, 'Keys'),
      h(
        'p', { class: 'soft' },
        h('kbd', {}, 'arrows'), ' look around, ', h('kbd', {}, 'Shift'), ' + arrows move, ', h('kbd', {}, '+'), ' ', h('kbd', {}, '-'), ' zoom, ',
        h('kbd', {}, '0'), ' reset, ', h('kbd', {}, 'i'), ' idle life, ', h('kbd', {}, 'Space'), ' pause, ', h('kbd', {}, 's'), ' screenshot',
      ),
    );
  }

  private setBackground(background: string): void {
    state.background = background;
    this.backdrop.picture = null;
    this.applyBackground();
    this.keep();
  }

  private setPicture(file: File): void {
    const image = new Image();
    image.onload = () => {
      this.backdrop.picture = image;
      this.applyBackground();
    };
    image.onerror = () => say(`${file.name} is no picture that this browser can show.`, 'bad');
    image.src = URL.createObjectURL(file);
  }

  private applyBackground(): void {
    const { style, classList } = byId('stage');
    const { picture } = this.backdrop;
    style.backgroundImage = picture ? `url(${picture.src})` : '';
    const color = state.background === 'theme' ? getComputedStyle(document.documentElement).getPropertyValue('--ground').trim() : state.background;
    const clear = picture !== null || state.background === 'transparent';
    classList.toggle('checks', state.background === 'transparent' && !picture);
    const hex = parseInt(color.slice(1), 16);
    this.viewer.background = clear ? [0, 0, 0, 0] : [(hex >> 16) / 255, ((hex >> 8) & 255) / 255, (hex & 255) / 255, 1];
    this.viewer.invalidate();
  }

  private applyTheme(): void {
    const dark = state.theme ? state.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    document.documentElement.dataset['theme'] = dark ? 'dark' : 'light';
    this.applyBackground();
  }

  private applyOverlays(): void {
    this.viewer.renderer.overlays = {
      gaussians: state.overlays.includes('g'),
      wireframe: state.overlays.includes('w'),
      centres: state.overlays.includes('c'),
    };
    this.viewer.invalidate();
  }

  private showStats(on: boolean): void {
    const box = byId('stats');
    box.hidden = !on;
    if (!on) return;
    let pace = 0;
    const off = this.viewer.on('frame', ({ frameMs, drawn, count, deformMs, sortMs }) => {
      if (box.hidden) return off();
      if (frameMs > 0 && frameMs < 1000) pace = pace ? pace + 0.1 * (frameMs - pace) : frameMs;
      box.textContent =
        `${pace.toFixed(1)} ms a frame, ${(1000 / Math.max(pace, 1)).toFixed(0)}/s\n` +
        `${drawn.toLocaleString('en')} of ${count.toLocaleString('en')} Gaussians\n` +
        `deform ${deformMs.toFixed(1)} ms, sort ${sortMs.toFixed(1)} ms\n` +
        `${(this.viewer.renderer.textureBytes / 1e6).toFixed(1)} MB of textures`;
    });
    this.viewer.invalidate();
  }

  private copyLink(): void {
    this.keep(true);
    navigator.clipboard.writeText(location.href).then(
      () => say('The link is in the clipboard.'),
      () => say(`Copy it from the address bar: ${location.href}`),
    );
  }

  /** The state goes into the address, a moment after the last change. */
  private keep(now = false): void {
    clearTimeout(this.keepTimer);
    const write = () => history.replaceState(null, '', `${location.pathname}${location.search}#${writeState(state)}`);
    if (now) write();
    else this.keepTimer = window.setTimeout(write, 250);
  }

  private listen(): void {
    addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA|BUTTON|SUMMARY)$/.test((event.target as Element).tagName)) return;
      const keys: Record<string, () => void> = {
        '0': () => this.reset(),
        i: () => this.setIdle(!state.idle),
        s: () => void screenshot(this.viewer, this.backdrop).then((blob) => save(blob, `${this.name}.png`)).catch(complain),
        ' ': () => this.avatar && (this.avatar.paused = !this.avatar.paused),
      };
      const action = keys[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    });
    addEventListener('dragover', (event) => {
      event.preventDefault();
      document.body.classList.add('dragging');
    });
    addEventListener('dragleave', (event) => event.relatedTarget ?? document.body.classList.remove('dragging'));
    addEventListener('drop', (event) => {
      event.preventDefault();
      document.body.classList.remove('dragging');
      this.take([...(event.dataTransfer?.files ?? [])]);
    });
    this.viewer.on('lost', (lost) =>
      lost ? say('The graphics driver has stopped; waiting for it to come back.', 'bad') : say('Drawing again.'),
    );
  }
}

function showEmpty(heading: string, text: string, ...more: HTMLElement[]): void {
  const empty = byId('empty');
  empty.hidden = false;
  empty.replaceChildren(h('h1', {}, heading), h('p', {}, text), ...more);
}

start();
