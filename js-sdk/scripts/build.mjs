// Builds the package: one implementation, compiled to CommonJS, and around each entry a thin ES module that hands out the same
// objects. Whoever imports and whoever requires therefore get the same classes, and `instanceof` holds between the two.

import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

rmSync(path.join(root, 'dist'), { recursive: true, force: true });
const compiler = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
execFileSync(process.execPath, [compiler, '-p', root], { stdio: 'inherit' });

const { exports } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
for (const entry of Object.values(exports)) {
  if (entry.import !== undefined) {
    wrap(path.join(root, entry.require.default), path.join(root, entry.import.default));
  }
}

/** Writes the ES module, and its types, of a compiled CommonJS module. */
function wrap(compiled, wrapper) {
  const names = Object.keys(require(compiled)).filter((name) => name !== 'default');
  const from = JSON.stringify(`./${path.basename(compiled)}`);
  const lines = [`import module from ${from};`, `export const { ${names.join(', ')} } = module;`];
  writeFileSync(wrapper, `${lines.join('\n')}\n`);
  writeFileSync(wrapper.replace(/\.mjs$/, '.d.mts'), `export * from ${from};\n`);
}
