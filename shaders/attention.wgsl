// out[t, h, :] = Σ_p softmax_p(SCALE · q[t, h]·k[p, kv(h)]) · v[p, kv(h)],  p ≤ position + t
//
// Grid: (KV_HEADS, tokens / TILE). A workgroup owns the QUERIES = TILE · GROUP queries that share a kv head,
// walks the cache LANES positions at a time (a lane scores one position for all queries) and keeps a running
// softmax, so a key or value is loaded once for all queries. For the output a lane owns VECTORS vectors of 4.
// Joined: reduce_* with SHARED = QUERIES.
// UNROLL: as matmul.
// Edges: positions past a query weigh 0; every query has at least its own position, so no sum is empty.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;            // [tokens, KV_HEADS, GROUP, HEAD / 4]
@group(0) @binding(1) var<storage, read> keys: array<vec4f>;         // [KV_HEADS, HEAD / 4, CONTEXT]
@group(0) @binding(2) var<storage, read> values: array<vec4f>;       // [KV_HEADS, CONTEXT, HEAD / 4]
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;    // as q

const QUARTER = HEAD / 4u;
const VECTORS = (QUARTER + LANES - 1u) / LANES;
const QUERIES = TILE * GROUP;
const LOWEST = -3.0e38;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  if (stopped()) {
    return;
  }
  let kv = group.x;
  let first = group.y * TILE;
  let last = params.position + min(first + TILE, params.tokens) - 1u;
  let queries = select(min(TILE, params.tokens - first) * GROUP, QUERIES, UNROLL);
  var best: array<f32, QUERIES>;
  var sum: array<f32, QUERIES>;
  var acc: array<array<vec4f, VECTORS>, QUERIES>;
  for (var i = 0u; i < queries; i++) {
    best[i] = LOWEST;
  }
  for (var base = 0u; base <= last; base += LANES) {
    var weight = scores(kv, first, base + lane, last, queries);
    for (var i = 0u; i < queries; i++) {
      let next = max(best[i], reduce_max(weight[i], lane));
      let shrink = exp(best[i] - next);
      weight[i] = select(exp(weight[i] - next), 0.0, weight[i] <= LOWEST);
      best[i] = next;
      sum[i] = sum[i] * shrink + weight[i];
      for (var d = 0u; d < VECTORS; d++) {
        acc[i][d] *= shrink;
      }
    }
    share(weight, lane);
    for (var p = 0u; p < LANES; p++) {
      let at = (kv * CONTEXT + min(base + p, last)) * QUARTER;
      var v: array<vec4f, VECTORS>;
      for (var d = 0u; d < VECTORS; d++) {
        v[d] = values[at + min(d * LANES + lane, QUARTER - 1u)];
      }
      for (var i = 0u; i < queries; i++) {
        let w = shared_value(i, p);
        for (var d = 0u; d < VECTORS; d++) {
          acc[i][d] += w * v[d];
        }
      }
    }
    unshare();
  }
  for (var i = 0u; i < queries; i++) {
    let total = reduce_sum(sum[i], lane);
    let t = first + i / GROUP;
    for (var d = 0u; d < VECTORS; d++) {
      if (t < params.tokens && d * LANES + lane < QUARTER) {
        out[query_at(kv, first, i) + d * LANES + lane] = acc[i][d] / total;
      }
    }
  }
}

fn query_at(kv: u32, first: u32, i: u32) -> u32 {
  return (((first + i / GROUP) * KV_HEADS + kv) * GROUP + i % GROUP) * QUARTER;
}

fn scores(kv: u32, first: u32, p: u32, last: u32, queries: u32) -> array<f32, QUERIES> {
  var score: array<f32, QUERIES>;
  for (var j = 0u; j < QUARTER; j++) {
    let k = keys[(kv * QUARTER + j) * CONTEXT + min(p, last)];
    for (var i = 0u; i < queries; i++) {
      score[i] += dot(q[query_at(kv, first, i) + j], k);
    }
  }
  for (var i = 0u; i < queries; i++) {
    score[i] = select(LOWEST, score[i] * SCALE, p <= params.position + first + i / GROUP && p <= last);
  }
  return score;
}
