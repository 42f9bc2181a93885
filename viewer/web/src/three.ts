// Avatars in a three.js scene, beside other objects: they stand where their Object3D stands and are
// hidden by what is opaque and nearer.
import { Matrix4, Object3D, Vector3, Vector4, type Camera, type Scene, type WebGLRenderer } from 'three';
import { Avatar } from './avatar.ts';
import { Renderer } from './renderer.ts';

/** An avatar as a member of the scene graph; scales must be the same along all axes. */
export class AvatarObject extends Object3D {
  constructor(readonly avatar: Avatar) {
    super();
  }
}

/**
 * Draws a scene with its avatars: `layer.render(scene, camera)` instead of `renderer.render`.
 *
 * Colours are the photos' sRGB; tone mapping does not touch them. Transparent objects of the scene
 * are drawn before the avatars.
 */
export class AvatarLayer {
  readonly splats: Renderer;
  private known = new Set<Avatar>();
  private last = 0;

  constructor(private readonly renderer: WebGLRenderer) {
    this.splats = new Renderer(renderer.getContext() as WebGL2RenderingContext);
    renderer.resetState();
  }

  render(scene: Scene, camera: Camera, seconds = performance.now() / 1000): void {
    this.renderer.render(scene, camera);
    const found = new Set<Avatar>();
    scene.traverseVisible((object) => {
      if (!(object instanceof AvatarObject)) return;
      found.add(object.avatar);
      object.avatar.modelMatrix = object.matrixWorld.elements;
    });
    for (const avatar of this.known) if (!found.has(avatar)) this.splats.remove(avatar);
    for (const avatar of found) this.splats.add(avatar);
    this.known = found;
    const elapsed = this.last ? Math.min(seconds - this.last, 0.25) : 0;
    this.last = seconds;
    for (const avatar of found) avatar.update(seconds, elapsed);

    const eye = new Vector3().setFromMatrixPosition(camera.matrixWorld);
    const forward = camera.getWorldDirection(new Vector3());
    this.splats.prepare([eye.x, eye.y, eye.z], [forward.x, forward.y, forward.z]);
    const port = this.renderer.getCurrentViewport(new Vector4());
    this.splats.draw({
      view: new Matrix4().copy(camera.matrixWorld).invert().elements,
      projection: camera.projectionMatrix.elements,
      x: port.x, y: port.y, width: port.z, height: port.w,
      depthTest: true,
    });
    this.renderer.resetState();
  }

  dispose(): void {
    this.splats.dispose();
    this.renderer.resetState();
  }
}

export { Avatar };
