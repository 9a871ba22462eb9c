// The log of a made-up web service, for the log archiver: line by line, the same each time, about 1 KB each.

const METHODS = ['GET', 'GET', 'GET', 'POST', 'PUT'];
const PATHS = ['orders', 'carts', 'users', 'sessions', 'items', 'search', 'prices', 'stock'];
const STATUSES = [200, 200, 200, 200, 201, 204, 304, 404, 500];
const AGENTS = [
  'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
  'curl/8.14.1',
  'okhttp/5.1.0',
];
// Of any real log most is the same from line to line. This is why gzip makes it so small.
const HEADERS =
  'accept=application/json accept-encoding=gzip,br cache-control=no-cache connection=keep-alive ' +
  'content-type=application/json x-forwarded-proto=https x-frame-options=DENY referrer-policy=no-referrer ' +
  'strict-transport-security=max-age=63072000 vary=accept-encoding via=edge-eu-central-1,cache-fra-3';
const START_MS = Date.UTC(2026, 10, 22);

/** Line `number` of the log, with its newline. */
export function logLine(number) {
  // A multiplicative hash (Knuth): numbers that lie side by side get values that do not.
  const a = Math.imul(number + 1, 0x9e3779b1) >>> 0;
  const b = Math.imul(a ^ 0x5bd1e995, 0x85ebca6b) >>> 0;
  const c = Math.imul(b ^ (a >>> 7), 0xc2b2ae35) >>> 0;
  const trace = hex(a) + hex(b) + hex(c) + hex(a ^ c);
  return (
    `${new Date(START_MS + number * 7).toISOString()} level=info line=${number} host=web-${a % 24} ` +
    `method=${METHODS[b % METHODS.length]} path=/api/v1/${PATHS[c % PATHS.length]}/${a % 1_000_000} ` +
    `status=${STATUSES[(a >>> 8) % STATUSES.length]} bytes=${b % 100_000} took_us=${c % 1_000_000} ` +
    `trace=${trace} span=${hex(b ^ c)} user=${hex(a ^ b)} session=${hex(c)}${hex(a)} agent="${AGENTS[b & 3]}" ${HEADERS} ` +
    `upstream=10.0.${a & 255}.${b & 255}:8080 upstream_us=${(c >>> 3) % 900_000} ` +
    `sql="SELECT id, name, price, stock FROM items WHERE shop = ${b % 5000} AND id > ${a % 1_000_000} ORDER BY id LIMIT 50" rows=${c % 51} ` +
    `body_sha256=${hex(a * 3)}${hex(b * 3)}${hex(c * 3)}${hex(a * 5)}${hex(b * 5)}${hex(c * 5)}${hex(a * 7)}${hex(b * 7)} ` +
    'flags=new-checkout,lazy-images,price-v2 region=eu-central-1 zone=eu-central-1b release=2026.11.3 commit=41c0a8f ' +
    `queue_us=${a % 9000} tls=TLSv1.3 cipher=TLS_CHACHA20_POLY1305_SHA256\n`
  );
}

function hex(value) {
  return (value >>> 0).toString(16).padStart(8, '0');
}
