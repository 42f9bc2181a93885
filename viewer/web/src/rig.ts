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
  // Each vertex's joints, most of them one: pairs of joint and weight.
  private readonly skinStart: Uint32Array;
  private readonly skinJoint: Uint8Array;
  private readonly skinWeight: Float32Array;
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
    const starts = [0];
    const joints: number[] = [];
    const weights: number[] = [];
    for (let v = 0; v < this.vertexCount; v++) {
      const row = asset.skinWeights.subarray(v * JOINTS, (v + 1) * JOINTS);
      const sum = row.reduce((total, weight) => total + weight, 0) || 1;
      row.forEach((weight, joint) => {
        if (weight > 0) joints.push(joint), weights.push(weight / sum);
      });
      starts.push(joints.length);
    }
    this.skinStart = Uint32Array.from(starts);
    this.skinJoint = Uint8Array.from(joints);
    this.skinWeight = Float32Array.from(weights);
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
    for (let v = 0, i = 0, o = 0; v < this.vertexCount; v++, i += 3, o += 4) {
      const x = deformed[i]!, y = deformed[i + 1]!, z = deformed[i + 2]!;
      let px = 0, py = 0, pz = 0;
      for (let k = this.skinStart[v]!; k < this.skinStart[v + 1]!; k++) {
        const w = this.skinWeight[k]!, j = 12 * this.skinJoint[k]!;
        px += w * (m[j]! * x + m[j + 1]! * y + m[j + 2]! * z + m[j + 3]!);
        py += w * (m[j + 4]! * x + m[j + 5]! * y + m[j + 6]! * z + m[j + 7]!);
        pz += w * (m[j + 8]! * x + m[j + 9]! * y + m[j + 10]! * z + m[j + 11]!);
      }
      out[o] = px, out[o + 1] = py, out[o + 2] = pz;
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
