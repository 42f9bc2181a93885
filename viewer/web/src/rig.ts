// From codes to vertices on the CPU: blend shapes, joints, skinning (avatar3d/heads/skinning.py).
import type { Asset } from './asset.ts';
import { JOINTS } from './asset.ts';
import type { Code } from './code.ts';
import { quatConjugate, quatFromVector, quatPower, quatToRows, type Quat } from './math.ts';

const [ROOT, NECK, HEAD, JAW, LEFT_EYE, RIGHT_EYE] = [0, 1, 2, 3, 4, 5] as const;

/** One person's points, posed into `out`: [V, 4] metres, without the head's translation. */
export class Rig {
  readonly out: Float32Array;
  readonly vertexCount: number;
  private readonly shapes: { vertices: Uint16Array; offsets: Float32Array }[] = [];
  private readonly rest: Float32Array;
  private readonly deformed: Float32Array;
  // Most vertices follow one joint: by joint, so that its matrix stays in registers.
  private readonly rigid: Uint32Array[];
  private readonly mixed: Uint32Array; // the vertices between joints, and
  private readonly mixedWeights: Float32Array; // [X, JOINTS]
  private readonly joints = new Float64Array(JOINTS * 3);
  private readonly transforms = new Float64Array(JOINTS * 12);

  constructor(private readonly asset: Asset) {
    this.rest = asset.vertices;
    this.vertexCount = asset.vertices.length / 3;
    this.deformed = new Float32Array(asset.vertices.length);
    this.out = new Float32Array(this.vertexCount * 4);
    let at = 0;
    asset.shapeCounts.forEach((count, shape) => {
      const step = asset.shapeSteps[shape]!;
      this.shapes.push({
        vertices: asset.shapeVertices.subarray(at, at + count),
        offsets: Float32Array.from(asset.shapeOffsets.subarray(3 * at, 3 * (at + count)), (v) => v * step),
      });
      at += count;
    });
    const rigid: number[][] = Array.from({ length: JOINTS }, () => []);
    const mixed: number[] = [], weights: number[] = [];
    for (let v = 0; v < this.vertexCount; v++) {
      const row = asset.skinWeights.subarray(v * JOINTS, (v + 1) * JOINTS);
      const sum = row.reduce((total, weight) => total + weight, 0);
      const joint = row.indexOf(sum);
      if (joint >= 0) rigid[joint]!.push(v);
      else mixed.push(v), weights.push(...Array.from(row, (weight) => weight / sum));
    }
    this.rigid = rigid.map((vertices) => Uint32Array.from(vertices));
    this.mixed = Uint32Array.from(mixed);
    this.mixedWeights = Float32Array.from(weights);
  }

  pose(code: Code): void {
    const { deformed, out, transforms: m } = this;
    const weights = this.walkJoints(code);
    deformed.set(this.rest);
    this.shapes.forEach(({ vertices, offsets }, shape) => {
      const weight = weights[shape] ?? 0;
      if (weight === 0) return;
      for (let i = 0, k = 0; i < vertices.length; i++, k += 3) {
        const v = 3 * vertices[i]!;
        deformed[v] = deformed[v]! + weight * offsets[k]!;
        deformed[v + 1] = deformed[v + 1]! + weight * offsets[k + 1]!;
        deformed[v + 2] = deformed[v + 2]! + weight * offsets[k + 2]!;
      }
    });
    this.rigid.forEach((vertices, joint) => moveAll(vertices, deformed, m, 12 * joint, out));
    this.moveMixed();
  }

  private moveMixed(): void {
    const { mixed, mixedWeights: w, transforms: m, deformed, out } = this;
    for (let k = 0, at = 0; k < mixed.length; k++, at += JOINTS) {
      const v = mixed[k]!, x = deformed[3 * v]!, y = deformed[3 * v + 1]!, z = deformed[3 * v + 2]!;
      let px = 0, py = 0, pz = 0;
      for (let joint = 0, j = 0; joint < JOINTS; joint++, j += 12) {
        const weight = w[at + joint]!;
        if (weight === 0) continue;
        px += weight * (m[j]! * x + m[j + 1]! * y + m[j + 2]! * z + m[j + 3]!);
        py += weight * (m[j + 4]! * x + m[j + 5]! * y + m[j + 6]! * z + m[j + 7]!);
        pz += weight * (m[j + 8]! * x + m[j + 9]! * y + m[j + 10]! * z + m[j + 11]!);
      }
      out[4 * v] = px, out[4 * v + 1] = py, out[4 * v + 2] = pz;
    }
  }

  /**
   * Rest-to-world rows of the joints: the chain is walked from the skull, which trackers see.
   * Returns the weights of the shapes: the coefficients, then what correctives answer to.
   */
  private walkJoints(code: Code): Float32Array {
    const { asset, transforms, joints } = this;
    const names = asset.expressionNames.length;
    const weights = new Float32Array(this.shapes.length);
    weights.set(code.coefficients.subarray(0, names));
    joints.set(asset.joints);
    if (asset.jointExpression)
      for (let e = 0; e < names; e++)
        if (weights[e] !== 0)
          for (let i = 0; i < joints.length; i++)
            joints[i] = joints[i]! + weights[e]! * asset.jointExpression[e * joints.length + i]!;
    transforms.fill(0);
    const head = quatToRows(code.head);
    for (let row = 0; row < 3; row++)
      for (let column = 0; column < 3; column++)
        transforms[12 * HEAD + 4 * row + column] = head[3 * row + column]!;
    const unbend = quatConjugate(quatPower(code.neck, 0.5));
    this.rotateAbout(HEAD, unbend, HEAD, NECK);
    this.rotateAbout(NECK, unbend, NECK, ROOT);
    const locals = [code.neck];
    for (const joint of [JAW, LEFT_EYE, RIGHT_EYE]) {
      const turn = [0, 0, 0];
      for (let e = 0; e < names; e++) {
        const weight = weights[e]!;
        if (weight === 0) continue;
        for (let axis = 0; axis < 3; axis++)
          turn[axis]! += weight * asset.jointDrive[(e * JOINTS + joint) * 3 + axis]!;
      }
      const local = quatFromVector(turn[0]!, turn[1]!, turn[2]!);
      this.rotateAbout(HEAD, local, joint, joint);
      locals.push(local);
    }
    // What shapes do only together (skinning.shape_weights); the joints above do not ask.
    asset.combinationAmounts.forEach((amount, c) => {
      const [i, j, k] = asset.combinations.subarray(3 * c, 3 * c + 3) as unknown as [number, number, number];
      weights[k]! += amount * (code.coefficients[i] ?? 0) * (code.coefficients[j] ?? 0);
    });
    if (weights.length > names)
      locals.forEach((local, i) =>
        quatToRows(local).forEach((value, k) => (weights[names + 9 * i + k] = value - (k % 4 === 0 ? 1 : 0))),
      );
    return weights;
  }

  /** Joint `to` stands as joint `from` does after a rotation about the rest place of `pivot`. */
  private rotateAbout(from: number, rotation: Quat, pivot: number, to: number): void {
    const { transforms: m } = this;
    const r = quatToRows(rotation);
    const p = this.joints.subarray(3 * pivot, 3 * pivot + 3);
    const a = 12 * from, b = 12 * to;
    for (let row = 0; row < 3; row++) {
      const at = a + 4 * row;
      const turned = [0, 1, 2].map(
        (c) => m[at]! * r[c]! + m[at + 1]! * r[3 + c]! + m[at + 2]! * r[6 + c]!,
      );
      let shift = m[at + 3]!;
      for (let c = 0; c < 3; c++) shift += (m[at + c]! - turned[c]!) * p[c]!;
      for (let c = 0; c < 3; c++) m[b + 4 * row + c] = turned[c]!;
      m[b + 4 * row + 3] = shift;
    }
  }
}

/** Points [V, 3] of these vertices by the 3x4 rows that begin at `j` of `m`, into `out` [V, 4]. */
function moveAll(vertices: Uint32Array, points: Float32Array, m: Float64Array, j: number, out: Float32Array): void {
  const a = m[j]!, b = m[j + 1]!, c = m[j + 2]!, d = m[j + 3]!;
  const e = m[j + 4]!, f = m[j + 5]!, g = m[j + 6]!, h = m[j + 7]!;
  const p = m[j + 8]!, q = m[j + 9]!, r = m[j + 10]!, s = m[j + 11]!;
  for (let k = 0; k < vertices.length; k++) {
    const v = vertices[k]!, i = 3 * v, o = 4 * v;
    const x = points[i]!, y = points[i + 1]!, z = points[i + 2]!;
    out[o] = a * x + b * y + c * z + d;
    out[o + 1] = e * x + f * y + g * z + h;
    out[o + 2] = p * x + q * y + r * z + s;
  }
}
