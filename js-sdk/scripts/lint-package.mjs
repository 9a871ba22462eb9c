// `npm run lint:package`: the package as it would be published. What it contains, what publint and are-the-types-wrong say of
// it, and whether it can be imported, required and type-checked by a project that installed it.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { installInto, packageRoot, withPacked } from './packed.mjs';

const require = createRequire(import.meta.url);

/** All that may be in it. A source map has its sources within, so they need not be there. */
const ALLOWED = /^(?:README\.md|LICENSE|package\.json|dist\/[a-z/-]+\.(?:js|js\.map|d\.ts|mjs|d\.mts))$/;
const REQUIRED = [
  'README.md',
  'LICENSE',
  'package.json',
  'dist/index.js',
  'dist/index.mjs',
  'dist/index.d.ts',
  'dist/index.d.mts',
];
/** Nobody wants to download more than this for a client without dependencies. */
const UNPACKED_BYTES_MAX = 1024 * 1024;

try {
  await withPacked(check);
} catch (error) {
  // What the programs have to say they have said; where they ran here is of no interest.
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}

function check({ folder, tarball, files, unpackedBytes }) {
  step(`contents: ${files.length} files, ${unpackedBytes} bytes`, () => checkContents(files, unpackedBytes));
  step('publint', () => run('publint', ['run', tarball, '--strict']));
  step('are the types wrong', () =>
    run('attw', [tarball, '--no-definitely-typed', '--no-emoji', '--no-color']),
  );
  const project = installInto(folder, tarball);
  step('source maps', () => checkSourceMaps(path.join(project, 'node_modules', 'memcloud', 'dist')));
  step('import and require', () => checkModules(project));
  step('types', () => checkTypes(project));
}

function step(name, check) {
  console.log(`package: ${name}`);
  check();
}

function checkContents(files, unpackedBytes) {
  const surplus = files.filter((file) => !ALLOWED.test(file));
  assert(surplus.length === 0, `these do not belong into the package: ${surplus.join(', ')}`);
  const missing = REQUIRED.filter((file) => !files.includes(file));
  assert(missing.length === 0, `these are missing: ${missing.join(', ')}`);
  for (const file of files.filter((name) => /^dist\/.*\.js$/.test(name))) {
    for (const companion of [file.replace(/\.js$/, '.d.ts'), `${file}.map`]) {
      assert(files.includes(companion), `${file} comes without ${companion}`);
    }
  }
  assert(unpackedBytes <= UNPACKED_BYTES_MAX, `${unpackedBytes} bytes are more than ${UNPACKED_BYTES_MAX}`);
  const licences = [packageRoot, path.dirname(packageRoot)].map((dir) =>
    readFileSync(path.join(dir, 'LICENSE'), 'utf8'),
  );
  assert(licences[0] === licences[1], 'js-sdk/LICENSE is not that of the project any more');
}

function checkSourceMaps(dist) {
  for (const name of readdirSync(dist, { recursive: true }).filter((file) => file.endsWith('.js.map'))) {
    const map = JSON.parse(readFileSync(path.join(dist, name), 'utf8'));
    const whole =
      map.sourcesContent?.length === map.sources.length && map.sourcesContent.every((text) => text);
    assert(whole, `${name} does not have its sources within`);
  }
}

/** A program that imports the package gets the same classes as one that requires it. */
function checkModules(project) {
  const entries = Object.keys(require('../package.json').exports)
    .filter((entry) => entry !== './package.json')
    .map((entry) => path.posix.join('memcloud', entry));
  const script = `
    import { createRequire } from 'node:module';
    const require = createRequire(import.meta.url);
    for (const entry of ${JSON.stringify(entries)}) {
      const imported = await import(entry);
      const required = require(entry);
      const names = Object.keys(required);
      if (names.length === 0) throw new Error(entry + ' exports nothing');
      for (const name of names) {
        if (imported[name] !== required[name]) throw new Error(entry + ': ' + name + ' differs');
      }
      const more = Object.keys(imported).filter((name) => !names.includes(name) && name !== 'default');
      if (more.length > 0) throw new Error(entry + ': only imported: ' + more);
    }
    if (require('memcloud/package.json').name !== 'memcloud') throw new Error('package.json cannot be read');
  `;
  const file = path.join(project, 'modules.mjs');
  writeFileSync(file, script);
  execFileSync(process.execPath, [file], { stdio: 'inherit' });
}

/** A program in TypeScript, as each kind of module, and with the strictest settings that its own project may have. */
function checkTypes(project) {
  const program = path.join(packageRoot, 'test-types', 'program.ts');
  for (const [name, module, moduleResolution] of [
    ['esm.mts', 'nodenext', 'nodenext'],
    ['cjs.cts', 'nodenext', 'nodenext'],
    ['bundled.ts', 'esnext', 'bundler'],
  ]) {
    copyFileSync(program, path.join(project, name));
    const config = path.join(project, `tsconfig.${name}.json`);
    const typeRoots = [path.join(packageRoot, 'node_modules', '@types')];
    writeFileSync(
      config,
      JSON.stringify({
        compilerOptions: {
          module,
          moduleResolution,
          typeRoots,
          types: ['node'],
          target: 'es2022',
          lib: ['es2022', 'esnext.disposable', 'dom'],
          noEmit: true,
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          skipLibCheck: false,
        },
        files: [name],
      }),
    );
    const compiler = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
    execFileSync(process.execPath, [compiler, '-p', config], { stdio: 'inherit' });
  }
}

function run(program, args) {
  const bin = path.join(packageRoot, 'node_modules', '.bin', program);
  assert(existsSync(bin), `${program} is not installed: run npm ci`);
  execFileSync(bin, args, { stdio: 'inherit' });
}

function assert(holds, message) {
  if (!holds) {
    throw new Error(message);
  }
}
