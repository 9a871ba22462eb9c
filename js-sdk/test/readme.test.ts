/** Runs every example of README.md as a program of its own, against a real node that has a peer, and compares what it prints
 * with what the example says that it prints. How blocks become programs stands in a comment of README.md. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { PATIENCE_MS, startPair, type TestNode } from './support/node';

const root = path.resolve(__dirname, '..', '..');
/** Within the package, so that the programs find `memcloud` by its own name. */
const programs = path.join(root, 'build', 'readme');

interface Block {
  readonly language: 'js' | 'ts';
  readonly isCommonJs: boolean;
  readonly code: string;
}

interface Program {
  readonly heading: string;
  readonly blocks: Block[];
}

/** The blocks of js and ts, under their headings. Other fences are passed over. */
function programsOf(markdown: string): Program[] {
  const found: Program[] = [];
  let heading = '';
  let comment = '';
  const lines = markdown.split('\n');
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] ?? '';
    const fence = /^```(\w+)$/.exec(line);
    if (fence === null) {
      heading = /^## (.+)$/.exec(line)?.[1] ?? heading;
      comment = line === '' ? comment : line;
      continue;
    }
    const end = lines.indexOf('```', index + 1);
    assert.notEqual(end, -1, `the block at line ${index + 1} of README.md has no end`);
    const language = fence[1];
    if (language === 'js' || language === 'ts') {
      const block = {
        language,
        isCommonJs: comment === '<!-- cjs -->',
        code: lines.slice(index + 1, end).join('\n'),
      } as const;
      const last = found.at(-1);
      if (last?.heading === heading) {
        last.blocks.push(block);
      } else {
        found.push({ heading, blocks: [block] });
      }
    }
    comment = '';
    index = end;
  }
  return found;
}

/** What the comments with an arrow say that it prints. */
function expectedOutput(code: string): RegExp {
  const said = [...code.matchAll(/\/\/ → (.*)$/gm)].map(([, text]) => text ?? '');
  const pattern = said.map((text) => text.split('…').map(escaped).join('[^]*?'));
  return new RegExp(`^${pattern.map((line) => `${line}\n`).join('')}$`);
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** Writes the program, and gives the file to run. */
function write({ heading, blocks }: Program): string {
  const name = heading.toLowerCase().replace(/\W+/g, '-');
  const code = blocks.map((block) => block.code).join('\n');
  if (blocks.some((block) => block.isCommonJs)) {
    const file = path.join(programs, `${name}.cjs`);
    writeFileSync(file, code);
    return file;
  }
  const ownsClient = /new (MemCloud|KeyvMemCloud)\(|createStore\(/.test(code);
  const whole = ownsClient
    ? code
    : `import { MemCloud } from 'memcloud';\nconst cloud = new MemCloud();\n${code}\nawait cloud.close();\n`;
  const file = path.join(programs, `${name}.mjs`);
  if (blocks.some((block) => block.language === 'ts')) {
    compile(path.join(programs, `${name}.mts`), whole);
  } else {
    writeFileSync(file, whole);
  }
  return file;
}

/** TypeScript is only taken for its syntax: examples in JavaScript stand beside it. */
function compile(file: string, code: string): void {
  writeFileSync(file, code);
  const compiler = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
  const options = ['--noCheck', '--module', 'nodenext', '--target', 'es2022', '--ignoreConfig'];
  execFileSync(process.execPath, [compiler, ...options, file], { stdio: 'inherit' });
}

/** What programs find in their folder: a log of 3 MB. */
const LOG = Buffer.alloc(3_000_000, '2026-11-22T00:00:00.035Z level=info path=/api/v1/orders status=200\n');

const found = programsOf(readFileSync(path.join(root, 'README.md'), 'utf8'));
let nodes: readonly TestNode[] = [];
let folder: string;

before(async () => {
  rmSync(programs, { recursive: true, force: true });
  mkdirSync(programs, { recursive: true });
  folder = mkdtempSync(path.join(tmpdir(), 'memcloud-readme-'));
  writeFileSync(path.join(folder, 'huge.log'), LOG);
  nodes = await startPair({ name: 'Laptop' }, { name: 'Workshop' });
});

after(async () => {
  await Promise.all(nodes.map((node) => node.remove()));
  rmSync(folder, { recursive: true, force: true });
});

test('there are examples', () => {
  assert.ok(found.length >= 12, String(found.length));
});

for (const program of found) {
  test(program.heading, async () => {
    const file = write(program);
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], {
      cwd: folder,
      env: { MEMCLOUD_SOCKET: nodes[0]?.socketPath },
      timeout: PATIENCE_MS,
    });
    assert.match(stdout, expectedOutput(program.blocks.map((block) => block.code).join('\n')));
    assert.equal(stderr, '');
  });
}
