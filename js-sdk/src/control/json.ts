/** The JSON of control operations, as programs of this language see it: `used_bytes` is `usedBytes`. */

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** An object of the node with names as they are usual here. What stands in no field of the types is kept as well. */
export function fromWire(json: unknown): unknown {
  if (Array.isArray(json)) {
    return json.map(fromWire);
  }
  if (typeof json !== 'object' || json === null) {
    return json;
  }
  const object = json as { [name: string]: Json };
  const named: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(object)) {
    named[nameHere(name)] = fromWire(value);
  }
  // A peer has its two grants in one place.
  if ('state' in named && 'lent' in named && 'borrowed' in named) {
    const { lent, borrowed, ...peer } = named;
    return { ...peer, grants: { lent, borrowed } };
  }
  return named;
}

function nameHere(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
