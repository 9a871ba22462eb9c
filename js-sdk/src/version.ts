/** The version of this package, as the node's log names it. A test holds it to that of package.json. */
export const VERSION = '0.1.0';
