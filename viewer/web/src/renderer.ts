// Draws avatars into any WebGL2 context: prepare() once a frame, draw() once a view.
import type { Avatar } from './avatar.ts';
import { inverseRigid, multiply, type Mat4, type Vec3 } from './math.ts';
import * as shaders from './shaders.ts';
import { TEXTURE_WIDTH, VERTEX_WIDTH } from './shaders.ts';

export interface View {
  view: Mat4; // world to eye, looking along -Z
  projection: Mat4;
  x: number; // px, of the framebuffer
  y: number;
  width: number;
  height: number;
  /** Hide what stands behind others' depths, already in the framebuffer. */
  depthTest?: boolean;
}

export interface Overlays {
  gaussians: boolean;
  wireframe: boolean;
  centres: boolean;
}

export interface FrameStats {
  drawn: number; // Gaussians
  deformMs: number;
  sortMs: number;
}

/** WebGL2 is missing, or a program was refused by the driver. */
export class GraphicsError extends Error {
  override name = 'GraphicsError';
}

type GL = WebGL2RenderingContext;

export class Renderer {
  overlays: Overlays = { gaussians: true, wireframe: false, centres: false };
  /** Leave out what faces away and is hidden. */
  cull = true;
  readonly stats: FrameStats = { drawn: 0, deformMs: 0, sortMs: 0 };
  private readonly programs: Record<'frames' | 'splats' | 'draw' | 'centres' | 'wire', Program>;
  private readonly avatars = new Map<Avatar, GpuAvatar>();
  private readonly quads: WebGLVertexArrayObject;
  private readonly quadIndices: WebGLBuffer;
  private readonly nothing: WebGLVertexArrayObject; // attributes: none
  private quadCount = 0;

  constructor(readonly gl: GL) {
    this.programs = {
      frames: new Program(gl, shaders.FILL, shaders.VERTEX_FRAMES),
      splats: new Program(gl, shaders.FILL, shaders.SPLATS),
      draw: new Program(gl, shaders.DRAW_VERTEX, shaders.DRAW_FRAGMENT),
      centres: new Program(gl, shaders.CENTRES_VERTEX, shaders.PLAIN_FRAGMENT),
      wire: new Program(gl, shaders.WIRE_VERTEX, shaders.PLAIN_FRAGMENT),
    };
    this.quads = gl.createVertexArray()!;
    this.nothing = gl.createVertexArray()!;
    this.quadIndices = gl.createBuffer()!;
    gl.bindVertexArray(this.quads);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.quadIndices);
    gl.bindVertexArray(null);
  }

  /** Bytes of the textures of all avatars. */
  get textureBytes(): number {
    let sum = 0;
    for (const gpu of this.avatars.values()) sum += gpu.bytes;
    return sum;
  }

  add(avatar: Avatar): void {
    if (this.avatars.has(avatar)) return;
    this.plainUploads();
    this.avatars.set(avatar, new GpuAvatar(this.gl, avatar));
    this.growQuads(avatar.asset.count);
  }

  remove(avatar: Avatar): void {
    this.avatars.get(avatar)?.dispose();
    this.avatars.delete(avatar);
  }

  dispose(): void {
    for (const avatar of [...this.avatars.keys()]) this.remove(avatar);
    for (const program of Object.values(this.programs)) this.gl.deleteProgram(program.handle);
    this.gl.deleteBuffer(this.quadIndices);
    this.gl.deleteVertexArray(this.quads);
    this.gl.deleteVertexArray(this.nothing);
  }

  /**
   * Sort and compute the Gaussians for an eye that looks along `forward`; both in the world. Two
   * eyes share it: give the point between them.
   */
  prepare(eye: Vec3, forward: Vec3): void {
    const { gl } = this;
    this.stats.drawn = 0;
    this.stats.sortMs = 0;
    gl.disable(gl.BLEND);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.SCISSOR_TEST);
    gl.disable(gl.CULL_FACE);
    gl.colorMask(true, true, true, true);
    this.plainUploads();
    for (const [avatar, gpu] of this.avatars) {
      if (!avatar.visible) continue;
      const toHead = inverseRigid(avatar.modelMatrix);
      const translation = avatar.posed.translation;
      const there = transformPoint(toHead, eye);
      const local: Vec3 = [there[0] - translation[0], there[1] - translation[1], there[2] - translation[2]];
      const along = transformDirection(toHead, forward);
      const started = performance.now();
      const key = [avatar.poseCount, avatar.count, this.cull, ...local, ...along].join();
      if (key !== gpu.preparedFor) {
        gpu.drawn = avatar.sorter.sort(avatar.rig.out, along, local, avatar.count, this.cull);
        this.stats.sortMs += performance.now() - started;
        gpu.upload();
        gpu.compute(this.programs.frames, this.programs.splats, this.nothing, local, this.cull);
        gpu.preparedFor = key;
      }
      this.stats.drawn += gpu.drawn;
    }
    gl.bindVertexArray(null);
  }

  /** Draw what was prepared into the bound framebuffer, the farthest avatar first. */
  draw(view: View): void {
    const { gl, overlays } = this;
    gl.viewport(view.x, view.y, view.width, view.height);
    gl.enable(gl.BLEND);
    gl.blendEquation(gl.FUNC_ADD);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthMask(false);
    if (view.depthTest) {
      gl.enable(gl.DEPTH_TEST);
      gl.depthFunc(gl.LEQUAL);
    } else gl.disable(gl.DEPTH_TEST);
    const far = [...this.avatars].filter(([avatar]) => avatar.visible).map(([avatar, gpu]) => {
      const toEye = multiply(view.view, avatar.modelMatrix);
      return { avatar, gpu, toEye, depth: -transformPoint(toEye, avatar.posed.translation)[2] };
    });
    far.sort((a, b) => b.depth - a.depth);
    for (const { avatar, gpu, toEye } of far) {
      if (overlays.gaussians) this.drawSplats(gpu, toEye, view, 0);
      if (overlays.centres) this.drawCentres(avatar, gpu, toEye, view);
      if (overlays.wireframe) this.drawWire(avatar, gpu, toEye, view);
    }
    gl.depthMask(true);
    gl.bindVertexArray(null);
  }

  /** How many layers of Gaussians cover each pixel, at most 255; reads back, so only to measure. */
  countLayers(view: View): Uint8Array {
    const { gl } = this;
    gl.viewport(view.x, view.y, view.width, view.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE);
    for (const [avatar, gpu] of this.avatars)
      this.drawSplats(gpu, multiply(view.view, avatar.modelMatrix), view, 1 / 255);
    const pixels = new Uint8Array(4 * view.width * view.height);
    gl.readPixels(view.x, view.y, view.width, view.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return pixels.filter((_, i) => i % 4 === 0);
  }

  private drawSplats(gpu: GpuAvatar, toEye: Mat4, view: View, layers: number): void {
    const { gl } = this;
    const program = this.programs.draw.use();
    gpu.bindSplats(program);
    program.texture('order', gpu.order);
    gl.uniformMatrix4fv(program.at('view'), false, toEye);
    gl.uniformMatrix4fv(program.at('projection'), false, view.projection);
    gl.uniform2f(program.at('viewport'), view.width, view.height);
    gl.uniform1f(program.at('layers'), layers);
    gl.bindVertexArray(this.quads);
    gl.drawElements(gl.TRIANGLES, 6 * gpu.drawn, gl.UNSIGNED_INT, 0);
  }

  private drawCentres(avatar: Avatar, gpu: GpuAvatar, toEye: Mat4, view: View): void {
    const { gl } = this;
    const program = this.programs.centres.use();
    gpu.bindSplats(program);
    gl.uniformMatrix4fv(program.at('view'), false, toEye);
    gl.uniformMatrix4fv(program.at('projection'), false, view.projection);
    gl.uniform1f(program.at('size'), Math.max(1.5, view.height / 400));
    gl.bindVertexArray(this.nothing);
    gl.drawArrays(gl.POINTS, 0, avatar.count);
  }

  private drawWire(avatar: Avatar, gpu: GpuAvatar, toEye: Mat4, view: View): void {
    const { gl } = this;
    const program = this.programs.wire.use();
    program.texture('points', gpu.points);
    gl.uniformMatrix4fv(program.at('view'), false, toEye);
    gl.uniformMatrix4fv(program.at('projection'), false, view.projection);
    gl.uniform3f(program.at('translation'), ...avatar.posed.translation);
    gl.uniform4f(program.at('tint'), 0.25, 0.75, 1, 0.35);
    gpu.drawEdges();
  }

  private plainUploads(): void {
    const { gl } = this;
    // Others who draw into this context may have left these otherwise.
    gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, null);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 4);
    gl.pixelStorei(gl.UNPACK_ROW_LENGTH, 0);
  }

  private growQuads(count: number): void {
    if (count <= this.quadCount) return;
    this.quadCount = count;
    const indices = new Uint32Array(6 * count);
    for (let n = 0; n < count; n++)
      indices.set([4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 2, 4 * n + 1, 4 * n + 3], 6 * n);
    const { gl } = this;
    gl.bindVertexArray(this.quads);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
  }
}

/** One avatar's textures. */
class GpuAvatar {
  bytes = 0;
  drawn = 0;
  preparedFor = '';
  readonly points: WebGLTexture;
  readonly order: WebGLTexture;
  private readonly textures: WebGLTexture[] = [];
  private readonly framebuffers: WebGLFramebuffer[] = [];
  private readonly look: Record<'look0' | 'look1' | 'rest' | 'starts' | 'rings', WebGLTexture>;
  private readonly changes: WebGLTexture | null;
  private readonly vertexFrames: WebGLTexture[];
  private readonly splats: WebGLTexture[];
  private readonly vertexRows: number;
  private readonly rows: number;
  private readonly pointsBuffer: Float32Array;
  private readonly orderBuffer: Uint32Array;
  private edges: { array: WebGLVertexArrayObject; buffer: WebGLBuffer; count: number } | null = null;
  private uploadedPose = -1;

  constructor(
    private readonly gl: GL,
    private readonly avatar: Avatar,
  ) {
    const { asset, rings, rest, rig } = avatar;
    this.vertexRows = Math.ceil(rig.vertexCount / VERTEX_WIDTH);
    this.rows = Math.ceil(asset.count / TEXTURE_WIDTH);
    const fine = this.rows * TEXTURE_WIDTH;
    this.pointsBuffer = new Float32Array(4 * VERTEX_WIDTH * this.vertexRows);
    this.orderBuffer = new Uint32Array(fine);

    const look0 = new Uint32Array(4 * fine), look1 = new Uint32Array(4 * fine);
    const before = new Float32Array(2 * fine);
    before.set(rest.growth);
    for (let n = 0; n < asset.count; n++) {
      const f = 3 * asset.corners[n]!;
      const pair = (low: number, high: number) => ((low & 0xffff) | (high << 16)) >>> 0;
      const three = (a: Uint8Array) => a[3 * n]! | (a[3 * n + 1]! << 8) | (a[3 * n + 2]! << 16);
      look0[4 * n] = pair(asset.triangles[f]!, asset.triangles[f + 1]!);
      look0[4 * n + 1] = pair(asset.triangles[f + 2]!, asset.flags[n]!);
      look0[4 * n + 2] = pair(asset.barycentrics[2 * n]!, asset.barycentrics[2 * n + 1]!);
      look0[4 * n + 3] = asset.rotations[n]!;
      look1[4 * n] = pair(asset.offsets[3 * n]!, asset.offsets[3 * n + 1]!);
      look1[4 * n + 1] = pair(asset.offsets[3 * n + 2]!, 0);
      look1[4 * n + 2] = (three(asset.logScales) | (asset.opacities[n]! << 24)) >>> 0;
      look1[4 * n + 3] = three(asset.colors);
    }
    const starts = new Uint32Array(VERTEX_WIDTH * this.vertexRows);
    const ringRows = Math.max(1, Math.ceil(rings.weights.length / 2 / VERTEX_WIDTH));
    const ring = new Uint32Array(4 * VERTEX_WIDTH * ringRows);
    const bits = new Uint32Array(rings.weights.buffer);
    for (let v = 0; v < rig.vertexCount; v++)
      starts[v] = (rings.starts[v]! << 8) | Math.min(255, rings.starts[v + 1]! - rings.starts[v]!);
    for (let k = 0; k < rings.weights.length / 2; k++)
      ring.set([rings.corners[2 * k]!, rings.corners[2 * k + 1]!, bits[2 * k]!, bits[2 * k + 1]!], 4 * k);

    const wide = (data: Uint32Array | null) => this.integers(TEXTURE_WIDTH, this.rows, data);
    this.look = {
      look0: wide(look0),
      look1: wide(look1),
      rest: this.texture(gl.RG32UI, gl.RG_INTEGER, gl.UNSIGNED_INT, TEXTURE_WIDTH, this.rows, 8, new Uint32Array(before.buffer)),
      starts: this.texture(gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, VERTEX_WIDTH, this.vertexRows, 4, starts),
      rings: this.integers(VERTEX_WIDTH, ringRows, ring),
    };
    this.points = this.texture(gl.RGBA32F, gl.RGBA, gl.FLOAT, VERTEX_WIDTH, this.vertexRows, 16, null);
    this.order = this.texture(gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, TEXTURE_WIDTH, this.rows, 4, null);
    this.vertexFrames = [0, 1].map(() => this.integers(VERTEX_WIDTH, this.vertexRows, null));
    this.splats = [0, 1, 2].map(() => wide(null));
    this.changes = this.basisTexture();
    this.framebuffers.push(this.target(this.vertexFrames), this.target(this.splats));
  }

  /** What the CPU has computed for this frame. */
  upload(): void {
    const { gl, avatar } = this;
    if (this.uploadedPose !== avatar.poseCount) {
      this.uploadedPose = avatar.poseCount;
      this.pointsBuffer.set(avatar.rig.out);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, this.points);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, VERTEX_WIDTH, this.vertexRows, gl.RGBA, gl.FLOAT, this.pointsBuffer);
    }
    const rows = Math.ceil(this.drawn / TEXTURE_WIDTH);
    if (rows === 0) return;
    this.orderBuffer.set(avatar.sorter.order.subarray(0, this.drawn));
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.order);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, TEXTURE_WIDTH, rows, gl.RED_INTEGER, gl.UNSIGNED_INT, this.orderBuffer);
  }

  /** Vertices to Gaussians in the head's world; `eye` is relative to the head's translation. */
  compute(frames: Program, splats: Program, nothing: WebGLVertexArrayObject, eye: Vec3, cull: boolean): void {
    const { gl, avatar } = this;
    const { asset, posed } = avatar;
    const bound = gl.getParameter(gl.DRAW_FRAMEBUFFER_BINDING) as WebGLFramebuffer | null;
    gl.bindVertexArray(nothing);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffers[0]!);
    gl.viewport(0, 0, VERTEX_WIDTH, this.vertexRows);
    frames.use();
    frames.texture('points', this.points);
    frames.texture('starts', this.look.starts);
    frames.texture('rings', this.look.rings);
    gl.drawArrays(gl.TRIANGLES, 0, 3);

    gl.bindFramebuffer(gl.FRAMEBUFFER, this.framebuffers[1]!);
    gl.viewport(0, 0, TEXTURE_WIDTH, Math.ceil(avatar.count / TEXTURE_WIDTH));
    splats.use();
    splats.texture('points', this.points);
    splats.texture('frames0', this.vertexFrames[0]!);
    splats.texture('frames1', this.vertexFrames[1]!);
    splats.texture('look0', this.look.look0);
    splats.texture('look1', this.look.look1);
    splats.texture('rest', this.look.rest);
    splats.texture('changes', this.changes, gl.TEXTURE_2D_ARRAY);
    gl.uniform1i(splats.at('count'), avatar.count);
    gl.uniform1i(splats.at('rank'), asset.basis?.rank ?? 0);
    if (asset.basis) gl.uniform2fv(splats.at('weights'), this.basisWeights());
    gl.uniform3f(splats.at('eye'), ...eye);
    gl.uniform3f(splats.at('translation'), ...posed.translation);
    gl.uniform1i(splats.at('lit'), asset.light ? 1 : 0);
    gl.uniform1i(splats.at('cull'), cull ? 1 : 0);
    if (asset.light) gl.uniform3fv(splats.at('light'), asset.light);
    const span = ([low, high]: [number, number]) => [low, high - low] as const;
    gl.uniform2f(splats.at('logScales'), ...span(asset.logScaleRange));
    gl.uniform2f(splats.at('colors'), ...span(asset.colorRange));
    gl.uniform1f(splats.at('offsetStep'), asset.offsetStep);
    gl.uniform1f(splats.at('detail'), Math.sqrt(asset.count / avatar.count));
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.bindFramebuffer(gl.FRAMEBUFFER, bound);
  }

  bindSplats(program: Program): void {
    this.splats.forEach((texture, i) => program.texture(`splats${i}`, texture));
  }

  drawEdges(): void {
    const { gl, avatar } = this;
    if (!this.edges) {
      const array = gl.createVertexArray()!, buffer = gl.createBuffer()!;
      const pairs = edgesOf(avatar.asset.triangles);
      gl.bindVertexArray(array);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, pairs, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(0);
      gl.vertexAttribIPointer(0, 1, gl.UNSIGNED_SHORT, 0, 0);
      this.edges = { array, buffer, count: pairs.length };
    }
    gl.bindVertexArray(this.edges.array);
    gl.drawArrays(gl.LINES, 0, this.edges.count);
  }

  dispose(): void {
    const { gl } = this;
    this.textures.forEach((texture) => gl.deleteTexture(texture));
    this.framebuffers.forEach((framebuffer) => gl.deleteFramebuffer(framebuffer));
    if (this.edges) gl.deleteVertexArray(this.edges.array), gl.deleteBuffer(this.edges.buffer);
  }

  /** The basis's weights times its steps, pairs of offset and colour. */
  private basisWeights(): Float32Array {
    const basis = this.avatar.asset.basis!;
    const coefficients = this.avatar.posed.coefficients;
    const pairs = new Float32Array(2 * basis.rank);
    for (let k = 0; k < basis.rank; k++) {
      let weight = 0;
      for (let e = 0; e < Math.min(basis.mean.length, coefficients.length); e++)
        weight += (coefficients[e]! - basis.mean[e]!) * basis.projection[e * basis.rank + k]!;
      weight = Math.min(Math.max(weight, basis.limits[k]!), basis.limits[basis.rank + k]!);
      pairs[2 * k] = weight * basis.offsetSteps[k]!;
      pairs[2 * k + 1] = weight * basis.colorSteps[k]!;
    }
    return pairs;
  }

  private basisTexture(): WebGLTexture | null {
    const { gl } = this;
    const { basis, count } = this.avatar.asset;
    if (!basis || basis.rank === 0) return null;
    const layer = TEXTURE_WIDTH * this.rows;
    const data = new Uint32Array(2 * layer * basis.rank);
    const three = (a: Int8Array, at: number) =>
      ((a[at]! & 255) | ((a[at + 1]! & 255) << 8) | ((a[at + 2]! & 255) << 16)) >>> 0;
    for (let k = 0; k < basis.rank; k++)
      for (let n = 0; n < count; n++) {
        const from = 3 * (k * count + n), to = 2 * (k * layer + n);
        data[to] = three(basis.offsets, from);
        data[to + 1] = three(basis.colors, from);
      }
    const texture = gl.createTexture()!;
    this.textures.push(texture);
    this.bytes += data.byteLength;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RG32UI, TEXTURE_WIDTH, this.rows, basis.rank);
    gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, 0, 0, 0, TEXTURE_WIDTH, this.rows, basis.rank, gl.RG_INTEGER, gl.UNSIGNED_INT, data);
    nearest(gl, gl.TEXTURE_2D_ARRAY);
    return texture;
  }

  private integers(width: number, height: number, data: Uint32Array | null): WebGLTexture {
    const { gl } = this;
    return this.texture(gl.RGBA32UI, gl.RGBA_INTEGER, gl.UNSIGNED_INT, width, height, 16, data);
  }

  private texture(
    internal: number, format: number, type: number,
    width: number, height: number, texelBytes: number, data: ArrayBufferView | null,
  ): WebGLTexture {
    const { gl } = this;
    const texture = gl.createTexture()!;
    this.textures.push(texture);
    this.bytes += width * height * texelBytes;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texStorage2D(gl.TEXTURE_2D, 1, internal, width, height);
    if (data) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, format, type, data);
    nearest(gl, gl.TEXTURE_2D);
    return texture;
  }

  private target(textures: WebGLTexture[]): WebGLFramebuffer {
    const { gl } = this;
    const bound = gl.getParameter(gl.DRAW_FRAMEBUFFER_BINDING) as WebGLFramebuffer | null;
    const framebuffer = gl.createFramebuffer()!;
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
    textures.forEach((texture, i) =>
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + i, gl.TEXTURE_2D, texture, 0),
    );
    gl.drawBuffers(textures.map((_, i) => gl.COLOR_ATTACHMENT0 + i));
    const complete = gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
    gl.bindFramebuffer(gl.FRAMEBUFFER, bound);
    if (!complete) throw new GraphicsError('The graphics driver refuses to draw into integer textures.');
    return framebuffer;
  }
}

class Program {
  readonly handle: WebGLProgram;
  private readonly locations = new Map<string, WebGLUniformLocation | null>();
  private readonly units = new Map<string, number>();

  constructor(
    private readonly gl: GL,
    vertex: string,
    fragment: string,
  ) {
    const program = (this.handle = gl.createProgram()!);
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      gl.deleteShader(shader);
    }
    gl.linkProgram(program);
  }

  use(): this {
    const { gl } = this;
    if (this.units.size === 0 && !gl.getProgramParameter(this.handle, gl.LINK_STATUS) && !gl.isContextLost()) {
      const logs = gl.getAttachedShaders(this.handle)!.map((shader) => gl.getShaderInfoLog(shader));
      throw new GraphicsError(`The graphics driver refuses a program: ${logs.join(' ')}`);
    }
    gl.useProgram(this.handle);
    return this;
  }

  at(name: string): WebGLUniformLocation | null {
    if (!this.locations.has(name)) this.locations.set(name, this.gl.getUniformLocation(this.handle, name));
    return this.locations.get(name)!;
  }

  /** Bind a texture to the unit that belongs to this sampler. */
  texture(name: string, texture: WebGLTexture | null, target: number = this.gl.TEXTURE_2D): void {
    const { gl } = this;
    let unit = this.units.get(name);
    if (unit === undefined) {
      unit = this.units.size;
      this.units.set(name, unit);
      gl.uniform1i(this.at(name), unit);
    }
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(target, texture);
  }
}

function nearest(gl: GL, target: number): void {
  gl.texParameteri(target, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(target, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texParameteri(target, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(target, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
}

/** Every edge once, as pairs of vertices. */
function edgesOf(triangles: Uint16Array): Uint16Array {
  const seen = new Set<number>();
  for (let i = 0; i < triangles.length; i += 3)
    for (let k = 0; k < 3; k++) {
      const a = triangles[i + k]!, b = triangles[i + ((k + 1) % 3)]!;
      seen.add(Math.min(a, b) * 65536 + Math.max(a, b));
    }
  return Uint16Array.from([...seen].flatMap((edge) => [Math.floor(edge / 65536), edge % 65536]));
}

function transformPoint(m: Mat4, p: Vec3): Vec3 {
  const row = (i: number) => m[i]! * p[0] + m[4 + i]! * p[1] + m[8 + i]! * p[2] + m[12 + i]!;
  return [row(0), row(1), row(2)];
}

function transformDirection(m: Mat4, d: Vec3): Vec3 {
  const row = (i: number) => m[i]! * d[0] + m[4 + i]! * d[1] + m[8 + i]! * d[2];
  return [row(0), row(1), row(2)];
}
