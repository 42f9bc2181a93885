// One person's head: what it is made of, what it expresses now, and what it plays.
import { readAsset, type Asset } from './asset.ts';
import { copyCode, neutralCode, setExpression, type Code, type Expression, type Pose } from './code.ts';
import { Events } from './events.ts';
import { idleCode } from './idle.ts';
import { quatMultiply, quatNormalize, type Mat4 } from './math.ts';
import { motionAt, type Motion } from './motion.ts';
import { Rig } from './rig.ts';
import { Sorter } from './sort.ts';
import { makeRings, restOf, type Rest, type Rings } from './surface.ts';

export interface PlayOptions {
  loop?: boolean;
  speed?: number; // 1: as recorded
  from?: number; // seconds
}

export interface AvatarEvents extends Record<string, unknown> {
  /** The code that is shown next, about once a frame. */
  code: Code;
  /** Playing: where, in seconds. */
  time: number;
  /** A motion came to its end, or was stopped. */
  ended: Motion;
}

export class Avatar extends Events<AvatarEvents> {
  /** What sliders and drivers ask for; idle life and motions come on top. */
  readonly code: Code;
  /** Where the head frame stands in the scene: rotation, translation, uniform scale. */
  modelMatrix: Mat4 = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  /** Blinks and sways by itself. */
  idle = false;
  visible = true;
  /** @internal */ readonly rig: Rig;
  /** @internal */ readonly rings: Rings;
  /** @internal */ readonly rest: Rest;
  /** @internal */ readonly sorter: Sorter;
  /** @internal */ posed: Code;
  /** @internal */ poseCount = 0; // rises with every new pose
  private detail: number;
  private changed = true;
  private startedIdle = -1;
  private playing: { motion: Motion; options: Required<PlayOptions>; time: number; paused: boolean } | null =
    null;

  /** @internal */
  constructor(readonly asset: Asset) {
    super();
    this.code = neutralCode(asset.expressionNames.length);
    this.posed = copyCode(this.code);
    this.rig = new Rig(asset);
    this.rings = makeRings(asset);
    this.rest = restOf(asset, this.rings);
    this.sorter = new Sorter(asset, this.rest.place);
    this.detail = asset.count;
  }

  /** Read the bytes of a .a3dweb file. */
  static async read(bytes: ArrayBuffer | Uint8Array): Promise<Avatar> {
    return new Avatar(await readAsset(bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes)));
  }

  /** Gaussians drawn: the first so many, an even covering. */
  get count(): number {
    return this.detail;
  }

  set count(value: number) {
    this.detail = Math.max(1, Math.min(this.asset.count, Math.round(value)));
  }

  /** Set coefficients by name, or all of them in order; others stay. */
  setExpression(expression: Expression): void {
    setExpression(this.code.coefficients, expression);
    this.changed = true;
  }

  /** Turn and move the head; what is left out stays. Without `neck` the shoulders stand still. */
  setPose(pose: Partial<Pose>): void {
    if (pose.head) {
      this.code.head = quatNormalize(pose.head);
      this.code.neck = this.code.head;
    }
    if (pose.neck) this.code.neck = quatNormalize(pose.neck);
    if (pose.translation) this.code.translation = pose.translation;
    this.changed = true;
  }

  /** Back to the neutral expression and pose. */
  reset(): void {
    Object.assign(this.code, { ...neutralCode(0), coefficients: this.code.coefficients.fill(0) });
    this.changed = true;
  }

  play(motion: Motion, options: PlayOptions = {}): void {
    this.stop();
    const all = { loop: false, speed: 1, from: 0, ...options };
    this.playing = { motion, options: all, time: all.from, paused: false };
  }

  stop(): void {
    const ended = this.playing;
    this.playing = null;
    this.changed = true;
    if (ended) this.emit('ended', ended.motion);
  }

  get paused(): boolean {
    return this.playing?.paused ?? false;
  }

  set paused(value: boolean) {
    if (this.playing) this.playing.paused = value;
  }

  /** How the motion goes on from here; nothing while none plays. */
  adjust(options: Pick<PlayOptions, 'loop' | 'speed'>): void {
    if (this.playing) Object.assign(this.playing.options, options);
  }

  seek(seconds: number): void {
    if (this.playing) this.playing.time = seconds;
    this.changed = true;
  }

  get motion(): Motion | null {
    return this.playing?.motion ?? null;
  }

  /** @internal Advance to `now` seconds; true when what is seen has changed. */
  update(now: number, elapsed: number): boolean {
    const playing = this.playing;
    if (!playing && !this.idle && !this.changed) return false;
    let code = this.code;
    if (playing) {
      const length = playing.motion.codes.length / playing.motion.framesPerSecond;
      if (playing.time >= length && !playing.options.loop) {
        this.stop();
        return this.update(now, elapsed);
      }
      code = motionAt(playing.motion, playing.time % length, this.code.coefficients.length);
      this.emit('time', playing.time % length);
      if (!playing.paused) playing.time += elapsed * playing.options.speed;
    }
    this.posed = copyCode(code);
    if (this.idle && !playing) {
      if (this.startedIdle < 0) this.startedIdle = now;
      const life = idleCode(now - this.startedIdle);
      life.coefficients.forEach((value, i) => {
        this.posed.coefficients[i] = Math.min(1, Math.max(this.posed.coefficients[i]!, value));
      });
      this.posed.head = quatMultiply(this.posed.head, life.head);
      this.posed.neck = quatMultiply(this.posed.neck, life.neck);
    } else this.startedIdle = -1;
    this.changed = false;
    this.rig.pose(this.posed);
    this.poseCount++;
    this.emit('code', this.posed);
    return true;
  }
}
