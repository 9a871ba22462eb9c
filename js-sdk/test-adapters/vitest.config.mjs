import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['*.test.mjs'],
    globalSetup: './node.mjs',
    // The package is what its users load, and nothing that vitest has gone through.
    server: { deps: { external: [/\/dist\//] } },
  },
});
