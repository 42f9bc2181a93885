// The Khronos validator's report on a GLB, as JSON.
import { readFileSync } from 'node:fs';
import validator from 'gltf-validator';

const report = await validator.validateBytes(new Uint8Array(readFileSync(process.argv[2])), {
  maxIssues: 1000,
});
process.stdout.write(JSON.stringify(report));
