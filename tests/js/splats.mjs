// Gaussians as three.js reads them from a .ply, .spz or .glb: centres, covariances and colours.
import { readFileSync } from 'node:fs';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';
import { GLTFGaussianSplatLoaderExtension } from 'three/addons/loaders/GLTFGaussianSplatLoaderExtension.js';
import { GaussianSplatPLYLoader } from 'three/addons/loaders/GaussianSplatPLYLoader.js';
import { SPZLoader } from 'three/addons/loaders/SPZLoader.js';

const path = process.argv[2];
const file = readFileSync(path);
const content = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength);
let geometry;
if (path.endsWith('.glb')) {
  const loader = new GLTFLoader();
  loader.register((parser) => new GLTFGaussianSplatLoaderExtension(parser));
  const gltf = await loader.parseAsync(content, '');
  gltf.scene.traverse((node) => (geometry ??= node.splatGeometry));
} else {
  geometry = (path.endsWith('.ply') ? new GaussianSplatPLYLoader() : new SPZLoader()).parse(content);
}
const column = (name) => Array.from(geometry.attributes[name].array);
process.stdout.write(
  JSON.stringify({
    positions: column('position'),
    covariances: column('covariance'),
    colors: column('color'),
  }),
);
