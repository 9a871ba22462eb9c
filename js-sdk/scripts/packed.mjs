// The package as its users get it: packed, and installed into an empty project.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the package. */
export const packageRoot = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Packs, which builds, and calls `use` with what came of it. What was written for it is gone behind that. */
export async function withPacked(use) {
  const folder = mkdtempSync(path.join(tmpdir(), 'memcloud-packed-'));
  try {
    const [report] = JSON.parse(npm(['pack', '--json', '--pack-destination', folder], packageRoot));
    return await use({
      folder,
      tarball: path.join(folder, report.filename),
      files: report.files.map((file) => file.path),
      unpackedBytes: report.unpackedSize,
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Makes a project that has installed the packed package and nothing else. Returns its folder. */
export function installInto(folder, tarball) {
  const project = path.join(folder, 'project');
  mkdirSync(project);
  writeFileSync(path.join(project, 'package.json'), '{ "name": "project", "private": true }\n');
  // The package has no dependencies: whatever needs a registry here is a mistake.
  npm(['install', '--offline', '--no-audit', '--no-fund', tarball], project);
  return project;
}

function npm(args, cwd) {
  return execFileSync('npm', args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
