// A node for all files of tests, which know it by the path of its socket.

import nodes from '../build/test/support/node.js';

export default async function setup({ provide }) {
  const node = await nodes.TestNode.start();
  provide('socketPath', node.socketPath);
  return () => node.remove();
}
