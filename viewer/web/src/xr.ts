// An immersive session: both eyes from one sort, the avatars at conversation distance.
import type { Viewer } from './viewer.ts';
import type { Vec3 } from './math.ts';

export interface XrOptions {
  /** Pixels of the headset's recommended ones, per side. */
  framebufferScale?: number;
  /** Where the first avatar's eyes are: metres before and above the viewer's floor or seat. */
  distanceM?: number;
  heightM?: number;
  spacingM?: number; // between avatars side by side
}

export async function vrSupported(): Promise<boolean> {
  return (await navigator.xr?.isSessionSupported('immersive-vr').catch(() => false)) ?? false;
}

/** Enter VR with the viewer's avatars; resolves with the session, which ends itself or by `end()`. */
export async function enterVr(viewer: Viewer, options: XrOptions = {}): Promise<XRSession> {
  const { framebufferScale = 0.8, distanceM = 0.9, heightM = 1.5, spacingM = 0.6 } = options;
  const { gl } = viewer;
  const session = await navigator.xr!.requestSession('immersive-vr', { optionalFeatures: ['local-floor'] });
  await gl.makeXRCompatible();
  const layer = new XRWebGLLayer(session, gl, {
    antialias: false, alpha: false, framebufferScaleFactor: framebufferScale,
  });
  await session.updateRenderState({ baseLayer: layer, depthNear: 0.02, depthFar: 50 });
  let floor = true;
  const space = await session.requestReferenceSpace('local-floor').catch(() => {
    floor = false;
    return session.requestReferenceSpace('local');
  });
  const before = viewer.avatars.map((avatar) => avatar.modelMatrix);
  viewer.avatars.forEach((avatar, index) => {
    const x = spacingM * (index - (viewer.avatars.length - 1) / 2);
    avatar.modelMatrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, x, floor ? heightM : 0, -distanceM, 1];
  });
  viewer.suspended = true;
  session.addEventListener('end', () => {
    viewer.avatars.forEach((avatar, index) => (avatar.modelMatrix = before[index] ?? avatar.modelMatrix));
    viewer.suspended = false;
    viewer.invalidate();
  });
  const draw = (time: number, frame: XRFrame) => {
    session.requestAnimationFrame(draw);
    const pose = frame.getViewerPose(space);
    if (!pose) return;
    viewer.advance(time / 1000);
    const m = pose.transform.matrix;
    const eye: Vec3 = [m[12]!, m[13]!, m[14]!];
    viewer.renderer.prepare(eye, [-m[8]!, -m[9]!, -m[10]!]);
    gl.bindFramebuffer(gl.FRAMEBUFFER, layer.framebuffer);
    gl.clearColor(0.08, 0.09, 0.11, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    for (const view of pose.views) {
      const port = layer.getViewport(view);
      if (port)
        viewer.renderer.draw({
          view: view.transform.inverse.matrix, projection: view.projectionMatrix,
          x: port.x, y: port.y, width: port.width, height: port.height,
        });
    }
  };
  session.requestAnimationFrame(draw);
  return session;
}
