// out[t, c, h, :] = Σ_p z_p · Π_{p < m ≤ i} (1 − z_m) · v[p, h],  z_m = sigmoid(SCALE · q[t, c, h]·k[m, h]),
//   i = position + t, p from i down to 0: what is left of a stick of length 1 is broken anew at each position, the newest
//   first. The parts need not add up to 1.
// Choices c of a token ask with queries of their own, over the same keys and values.
//
// Grid: (HEADS, tokens / TILE). A workgroup owns the QUERIES = TILE · ROUTES queries of a head, walks the cache back
// LANES positions at a time (a lane scores one position for all queries), and every lane follows all sticks, as a running
// product: sums of logarithms would want a logarithm that is exact near 1, which WGSL's is not. For the output a lane
// owns VECTORS vectors of 4.
// A stick below LEAST is over, so that it weighs nothing to f32; when all are, the rest of the walk loads nothing. Steps
// begin at multiples of LANES, so that a query has the same bits in whatever chunk.
// Joined: reduce_* with SHARED = 2 · QUERIES, route_set.
// UNROLL: as matmul.
// Edges: positions that a query does not see take nothing off its stick. Rows of choices that have no slot are not written.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;            // [tokens, ROUTES, HEADS, HEAD / 4]
@group(0) @binding(1) var<storage, read> keys: array<vec4f>;         // [HEADS, HEAD / 4, CONTEXT]
@group(0) @binding(2) var<storage, read> values: array<vec4f>;       // [HEADS, CONTEXT, HEAD / 4]
@group(0) @binding(3) var<storage, read> routes: array<Route>;       // [tokens, ROUTES]
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;    // [tokens, ROUTES, HEADS, HEAD / 4]

const QUARTER = HEAD / 4u;
const VECTORS = (QUARTER + LANES - 1u) / LANES;
const QUERIES = TILE * ROUTES;
const LEAST = 0x1p-40;
const ELSEWHERE = 0xfffffffdu;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let head = group.x;
  let first = group.y * TILE;
  let end = min(first + TILE, params.tokens);
  let last = params.position + end - 1u;
  let queries = select((end - first) * ROUTES, QUERIES, UNROLL);
  var stick: array<f32, QUERIES>;
  var acc: array<array<vec4f, VECTORS>, QUERIES>;
  for (var i = 0u; i < queries; i++) {
    stick[i] = 1.0;
  }
  var is_open = true;
  for (var step = last / LANES + 1u; step > 0u; step--) {
    let base = (step - 1u) * LANES;
    share(broken(head, first, base + lane, last, queries, is_open), lane);
    for (var back = LANES; back > 0u; back--) {
      let p = back - 1u;
      var v: array<vec4f, VECTORS>;
      if (is_open) {
        let at = (head * CONTEXT + min(base + p, last)) * QUARTER;
        for (var d = 0u; d < VECTORS; d++) {
          v[d] = values[at + min(d * LANES + lane, QUARTER - 1u)];
        }
      }
      for (var i = 0u; i < queries; i++) {
        let w = shared_value(2u * i, p) * stick[i];
        stick[i] *= shared_value(2u * i + 1u, p);
        for (var d = 0u; d < VECTORS; d++) {
          acc[i][d] += w * v[d];
        }
      }
    }
    unshare();
    is_open = false;
    for (var i = 0u; i < queries; i++) {
      stick[i] = select(0.0, stick[i], stick[i] >= LEAST);
      is_open = is_open || stick[i] > 0.0;
    }
  }
  for (var i = 0u; i < queries; i++) {
    let t = first + i / ROUTES;
    if (t >= end || routes[first * ROUTES + i].slot >= ELSEWHERE) {
      continue;
    }
    for (var d = 0u; d < VECTORS; d++) {
      if (d * LANES + lane < QUARTER) {
        out[row_of(head, first, i) + d * LANES + lane] = acc[i][d];
      }
    }
  }
}

// Of query i, among the vectors of q and out.
fn row_of(head: u32, first: u32, i: u32) -> u32 {
  return ((first * ROUTES + i) * HEADS + head) * QUARTER;
}

// For each query what position p takes of its stick, and what it leaves: both to the last places, however small.
fn broken(head: u32, first: u32, p: u32, last: u32, queries: u32, is_open: bool) -> array<f32, 2u * QUERIES> {
  var score: array<f32, QUERIES>;
  var parts: array<f32, 2u * QUERIES>;
  if (!is_open) {
    return parts;
  }
  for (var j = 0u; j < QUARTER; j++) {
    let k = keys[(head * QUARTER + j) * CONTEXT + min(p, last)];
    for (var i = 0u; i < queries; i++) {
      score[i] += dot(q[row_of(head, first, i) + j], k);
    }
  }
  for (var i = 0u; i < queries; i++) {
    let s = score[i] * SCALE;
    let power = exp(-abs(s));
    let large = 1.0 / (1.0 + power);
    let small = power * large;
    let is_seen = p <= params.position + first + i / ROUTES && p <= last;
    parts[2u * i] = select(0.0, select(small, large, s >= 0.0), is_seen);
    parts[2u * i + 1u] = select(1.0, select(large, small, s >= 0.0), is_seen);
  }
  return parts;
}
