// three.js as an engine that imports avatars: loads a GLB, sets weights, plays clips, draws.
import * as THREE from 'three';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';

window.load = async (url) => {
  const gltf = await new GLTFLoader().loadAsync(url);
  const scene = new THREE.Scene();
  scene.background = new THREE.Color('white');
  scene.add(gltf.scene, new THREE.HemisphereLight(0xffffff, 0x888888, 3));
  const meshes = [];
  gltf.scene.traverse((node) => node.isMesh && meshes.push(node));
  const bones = [];
  gltf.scene.traverse((node) => node.isBone && bones.push(node.name));
  window.state = { gltf, scene, meshes, mixer: new THREE.AnimationMixer(gltf.scene) };
  return {
    meshes: meshes.map((mesh) => ({
      name: mesh.name,
      skinned: mesh.isSkinnedMesh === true,
      vertices: mesh.geometry.attributes.position.count,
      targets: mesh.morphTargetDictionary ?? {},
    })),
    bones,
    clips: gltf.animations.map((clip) => ({ name: clip.name, duration: clip.duration })),
  };
};

window.setWeights = (weights) => {
  for (const mesh of window.state.meshes) {
    if (!mesh.morphTargetDictionary) continue;
    mesh.morphTargetInfluences.fill(0);
    for (const [name, value] of Object.entries(weights)) {
      mesh.morphTargetInfluences[mesh.morphTargetDictionary[name]] = value;
    }
  }
};

window.playAt = (name, seconds) => {
  const { gltf, mixer } = window.state;
  mixer.stopAllAction();
  const action = mixer.clipAction(THREE.AnimationClip.findByName(gltf.animations, name));
  action.play();
  mixer.setTime(seconds);
};

// Vertices in the world as three.js moves them: morphs, then the skin. Every mesh in order.
window.vertices = () => {
  const { scene, meshes } = window.state;
  scene.updateMatrixWorld(true);
  const out = [];
  const point = new THREE.Vector3();
  for (const mesh of meshes) {
    mesh.skeleton?.update();
    for (let i = 0; i < mesh.geometry.attributes.position.count; i++) {
      mesh.getVertexPosition(i, point).applyMatrix4(mesh.matrixWorld);
      out.push(point.x, point.y, point.z);
    }
  }
  return out;
};

// How far each target at weight 1 moves the vertex that it moves most, by name. Metres.
window.movements = () => {
  window.setWeights({});
  const rest = window.vertices();
  const out = {};
  for (const name of Object.keys(window.state.meshes[0].morphTargetDictionary)) {
    window.setWeights({ [name]: 1 });
    const moved = window.vertices();
    let largest = 0;
    for (let i = 0; i < rest.length; i += 3) {
      const away = [0, 1, 2].map((axis) => moved[i + axis] - rest[i + axis]);
      largest = Math.max(largest, Math.hypot(...away));
    }
    out[name] = largest;
  }
  window.setWeights({});
  return out;
};

// camera: { position, target, fovDegrees, size }; returns a PNG data URL of what was drawn.
window.draw = ({ position, target, fovDegrees, size }) => {
  const { scene } = window.state;
  window.renderer ??= new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
  const renderer = window.renderer;
  renderer.setPixelRatio(1);
  renderer.setSize(size, size);
  const camera = new THREE.PerspectiveCamera(fovDegrees, 1, 0.05, 20);
  camera.position.fromArray(position);
  camera.lookAt(...target);
  renderer.render(scene, camera);
  return renderer.domElement.toDataURL('image/png');
};

window.ready = true;
