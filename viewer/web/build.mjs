// Build the page, one HTML file with script and style inside (committed: dist/index.html), and with
// --package what npm carries: dist/avatar3d.js, dist/three.js and their types. --out FOLDER instead
// of dist.
import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

const root = new URL('./', import.meta.url).pathname;
const common = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  charset: 'utf8',
  legalComments: 'none',
  logLevel: 'warning',
};

/** Text of a bundled script or style. */
async function bundled(entry, options) {
  const { outputFiles } = await build({ ...common, entryPoints: [entry], minify: true, write: false, ...options });
  return outputFiles[0].text;
}

async function page(out) {
  const [html, script, style] = await Promise.all([
    readFile(`${root}src/page/page.html`, 'utf8'),
    bundled('src/page/main.ts', { plugins: [shortShaders] }),
    bundled('src/page/page.css', { loader: { '.css': 'css' } }),
  ]);
  const code = script.trim().replaceAll('</script', '<\\/script');
  const hash = createHash('sha256').update(code).digest('base64');
  const whole = html
    .replace('"CSP"', () => `"${policy(hash)}"`)
    .replace('/*STYLE*/', () => style.trim())
    .replace('/*SCRIPT*/', () => code);
  await writeFile(out, whole);
  console.log(`${out}: ${whole.length} bytes, ${gzipSync(whole, { level: 9 }).length} gzipped`);
}

/** What the page may run and reach: its own script, the detector beside it, avatars of any host. */
function policy(hash) {
  return [
    "default-src 'none'", `script-src 'self' 'sha256-${hash}' 'unsafe-eval' blob:`, "style-src 'unsafe-inline'",
    'img-src * data: blob:', 'media-src blob:', 'connect-src * data: blob:', 'worker-src blob:', "base-uri 'none'", "form-action 'none'",
  ].join('; ');
}

/** Shaders without comments and needless spaces. */
const shortShaders = {
  name: 'short-shaders',
  setup({ onLoad }) {
    onLoad({ filter: /shaders\.ts$/ }, async ({ path }) => {
      const text = await readFile(path, 'utf8');
      const contents = text.replace(/\/\/ .*$/gm, '').replace(/^\s+/gm, '');
      return { contents, loader: 'ts' };
    });
  },
};

const given = process.argv.indexOf('--out');
const dist = given < 0 ? `${root}dist` : process.argv[given + 1];
await mkdir(dist, { recursive: true });
await page(`${dist}/index.html`);
if (process.argv.includes('--package')) {
  // One build for both, so that they share the classes.
  await build({
    ...common,
    plugins: [shortShaders],
    entryPoints: { avatar3d: 'src/index.ts', three: 'src/three.ts' },
    outdir: dist,
    splitting: true,
    chunkNames: 'shared',
    external: ['three'],
  });
  execFileSync(
    'npx',
    ['tsc', '--noEmit', 'false', '--emitDeclarationOnly', '--declaration', '--rewriteRelativeImportExtensions', '--outDir', `${dist}/types`],
    { cwd: root, stdio: 'inherit' },
  );
}
